"""The formats of lm-evaluation-harness, as its version 0.4.13 prints them; `tests/peers` asks it itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maporl_cli.core.types import Question, Snippet
from maporl_cli.evaluation.plain_formats import MMLU, plain_format

BASE = Question(
    id="q1",
    text="Which of these is a DNA base? ",
    options={"A": "adenine", "B": "glycine", "C": "heme", "D": "ATP"},
    answer="A",
    labels={"subject": "college_biology"},
)
OPTIONS = "A. adenine\nB. glycine\nC. heme\nD. ATP\n"


@pytest.mark.parametrize(
    ("benchmark", "expected"),
    [
        (
            "mmlu-medical",
            "The following are multiple choice questions (with answers) about college biology.\n\n"
            f"Which of these is a DNA base?\n{OPTIONS}Answer:",
        ),
        ("medqa", f"Question: Which of these is a DNA base?\n{OPTIONS}Answer:"),
        ("medmcqa", f"Question: Which of these is a DNA base?\nChoices:\n{OPTIONS}Answer:"),
    ],
)
def test_letters(benchmark: str, expected: str) -> None:
    format = plain_format(benchmark)
    assert format.prompt(BASE) == expected
    assert format.choices(BASE) == {"A": "A", "B": "B", "C": "C", "D": "D"}


def test_pubmedqa_weighs_words_below_the_abstract() -> None:
    asked = Question(
        id="21645374",
        text="Do mitochondria play a role?",
        options={"A": "yes", "B": "no", "C": "maybe"},
        answer="A",
        evidence=(Snippet("1", "Lace plant leaves remodel."), Snippet("2", "We used protoplasts.")),
    )
    format = plain_format("pubmedqa")
    assert format.prompt(asked) == (
        "Abstract: Lace plant leaves remodel.\nWe used protoplasts.\n"
        "Question: Do mitochondria play a role?\nAnswer:"
    )
    assert format.choices(asked) == {"A": "yes", "B": "no", "C": "maybe"}


@pytest.mark.parametrize("benchmark", ["medxpert", "clinic", None])
def test_others_are_asked_as_mmlu_is(benchmark: str | None) -> None:
    assert plain_format(benchmark) is MMLU


@pytest.mark.parametrize("benchmark", ["mmlu-medical", "medqa", "medmcqa", "pubmedqa"])
def test_a_context_stands_above_the_stem(benchmark: str) -> None:
    asked = replace(BASE, context="She takes lithium.")
    assert "She takes lithium.\nWhich of these" in plain_format(benchmark).prompt(asked)


def test_without_a_subject() -> None:
    assert MMLU.prompt(replace(BASE, labels={})).startswith(
        "The following are multiple choice questions (with answers).\n\n"
    )
