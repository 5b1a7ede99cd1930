"""Accuracy: the final answer decides."""

import pytest
from support import question, turn

from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.accuracy import accuracy
from maporl_cli.rewards.component import components


def episode(answer, asked=None, text="Answer: A"):
    return Episode(asked or question(answer="A"), 0, 1, turns=[turn("reporter", text=text)], answer=answer)


@pytest.mark.parametrize(("answer", "value"), [("A", 1.0), ("B", 0.0), ("a", 0.0), (None, 0.0)])
def test_value(answer, value):
    assert accuracy(episode(answer)).value == value


def test_the_reason_is_given_where_it_is_zero_and_only_there():
    assert accuracy(episode("A")).reason == ""
    assert accuracy(episode("B")).reason == "answered 'B', the gold answer is 'A'"
    assert "no single answer" in accuracy(episode(None)).reason


def test_what_the_text_says_beside_the_answer_earns_nothing():
    assert accuracy(episode("B", text="A A A gold correct (A) Answer: A")).value == 0.0
    assert accuracy(episode("A", text="")).value == 1.0


def test_free_text():
    free = Question(id="f", text="t", options={}, answer="aspirin")
    assert accuracy(episode("ASPIRIN", free)).value == 1.0
    assert accuracy(episode("aspirin heparin warfarin", free)).value == 0.0


def test_registered():
    assert components()["accuracy"] is accuracy
