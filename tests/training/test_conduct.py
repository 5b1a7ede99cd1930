"""How agents speak, by hand."""

import re

import pytest
from support import question, turn

from maporl_cli.agents.clinic_roles import CLINIC
from maporl_cli.agents.roles import GUIDE, Role
from maporl_cli.agents.team import Agent
from maporl_cli.core.types import Episode, Question, Snippet
from maporl_cli.training.conduct import conduct

PLANNER = Role("planner", ("question",), "", re.compile("text .*"), fields={"id": re.compile(r"q\d")})
REPORTER = Role("reporter", ("options",), "")
AGENTS = [Agent(role.name, role, None, 8, 1.0) for role in (PLANNER, REPORTER)]


def said(*texts, answer="A", asked=None, agent="planner", **options):
    """An episode of one question, `text of q1`, with options `yes` and `no`."""
    return Episode(
        asked or question(), 0, 1, [turn(agent, text=text, **options) for text in texts], answer=answer
    )


def test_length_is_in_tokens_a_turn():
    found = conduct([said("a", tokens=2), said("b", "c", tokens=5)], AGENTS)
    assert found["planner:length"] == pytest.approx(12 / 3)
    assert not any(name.startswith("reporter") for name in found)


def test_form_counts_turns_that_end_in_their_form_and_fields_one_by_one():
    episodes = [said("text of q1", "text of me"), said("q2"), said("text q3", finished=False)]
    found = conduct(episodes, AGENTS)
    assert found["planner:format"] == pytest.approx(2 / 4)
    assert found["planner:format:id"] == pytest.approx(3 / 4), "also where the turn was cut"


def test_the_last_turn_needs_an_answer_that_can_be_read():
    episodes = [said("said", agent="reporter", answer=answer) for answer in ("A", None, "B", None)]
    assert conduct(episodes, AGENTS)["reporter:format"] == 0.5
    spoken = Episode(
        question(), 0, 1, [turn("planner", text="text q1"), turn("reporter", text="x")], answer=None
    )
    assert conduct([spoken], AGENTS)["planner:format"] == 1.0, "the report is not the planner's"


def test_novel_words_are_those_that_the_question_does_not_give():
    asked = Question(
        "q", "Cough, fever?", {"A": "rest", "B": "beta-blocker"}, "A", "aged 60", (Snippet("e1", "RSV"),)
    )
    words = "COUGH, rest! beta-blocker: aged 60 rsv A | magic blocker magic"
    assert conduct([said(words, asked=asked)], AGENTS)["planner:novel"] == pytest.approx(3 / 10)


def test_what_the_researcher_was_shown_is_given_and_what_teammates_say_is_not():
    shown = turn("researcher", text="found").__class__(
        "planner", 0, (1,), (2,), (-1.0,), "statin abracadabra", True, 0, (Snippet("s", "a statin"),)
    )
    episode = Episode(question(), 0, 1, [shown, turn("planner", round=1, text="abracadabra")], answer="A")
    assert conduct([episode], AGENTS)["planner:novel"] == pytest.approx(2 / 3)


def test_repeats_are_rows_of_three_words_that_stood_there_before():
    # a b c | b c a | c a b | a b c: one of four rows again
    assert conduct([said("a b c a b c")], AGENTS)["planner:repeats"] == pytest.approx(1 / 4)
    assert conduct([said("no " * 7)], AGENTS)["planner:repeats"] == pytest.approx(4 / 5)
    assert conduct([said("a b c", "a b c")], AGENTS)["planner:repeats"] == 0.0, "each turn by itself"
    assert "planner:repeats" not in conduct([said("a b")], AGENTS)


def test_foreign_letters_are_of_a_script_that_the_question_does_not_use():
    found = conduct([said("text тест 12 !?")], AGENTS)
    assert found["planner:foreign"] == pytest.approx(4 / 8)
    greek = Question("q", "β-blocker", {"A": "ja", "B": "nein"}, "A")
    assert conduct([said("αβ gut", asked=greek)], AGENTS)["planner:foreign"] == 0.0
    assert conduct([said("咳嗽", asked=greek)], AGENTS)["planner:foreign"] == 1.0


def test_an_agent_that_says_nothing_has_no_language():
    found = conduct([said("")], AGENTS)
    assert found["planner:format"] == 0.0
    assert not {"planner:novel", "planner:repeats", "planner:foreign"} & set(found)


@pytest.mark.parametrize(
    ("book", "agent", "text", "held"),
    [
        (CLINIC, "planner", "check treatment history gastroparesis", {"task", "part", "key"}),
        (CLINIC, "planner", "check treatment history treatment", {"task", "part"}),
        (CLINIC, "analyst", "epilepsy no instead", {"entry", "status", "branch"}),
        (CLINIC, "reporter", "answer domperidone 2021 (C)", {"treatment", "year", "letter"}),
        (CLINIC, "reporter", "domperidone 2021 (F)", {"year"}),
        (GUIDE, "reporter", "Answer: C (85). Not medical advice.", {"answer", "confidence", "disclaimer"}),
        (GUIDE, "reporter", "I think it is C (sure).", set()),
    ],
)
def test_the_fields_of_the_built_in_roles(book, agent, text, held):
    role = book.role(agent)
    found = conduct([said(text, agent=agent)], [Agent(agent, role, None, 8, 1.0)])
    assert {name for name in role.fields if found[f"{agent}:format:{name}"]} == held
