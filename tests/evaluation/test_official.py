"""The published reader, against verdicts of the published code itself on recorded replies."""

import json
import string
from pathlib import Path

import pytest

from maporl_cli.core.types import Question
from maporl_cli.evaluation.official import official_answer, trigger

RECORDED = json.loads(Path(__file__).with_name("official_replies.json").read_text())["rows"]


def question(options: int) -> Question:
    return Question("q", "?", dict.fromkeys(string.ascii_uppercase[:options], "an option"), "A")


def test_there_are_enough_of_all_kinds() -> None:
    verdicts = [row["published"] for row in RECORDED]
    assert len(verdicts) >= 200
    assert verdicts.count(None) >= 20
    assert len(set(verdicts)) > 8


def test_every_recorded_reply_is_read_as_the_published_code_read_it() -> None:
    wrong = [
        (row["reply"], row["published"], read)
        for row in RECORDED
        if (read := official_answer(question(row["options"]), row["reply"])) != row["published"]
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("I think the most likely option is C", "I"),  # ten options: the pronoun is one of the letters
        ("A 45-year-old man most likely has C", "A"),
        ("", None),
        ("B and C", "B"),
        ("the answer is c", None),
        ("Therefore, among A through J, the answer is F. First I said B.", "F"),
        ("A or B? My answer is D, not A.", "D"),
        ("I understand. E", "E"),
    ],
)
def test_what_it_makes_of_hard_replies(reply: str, answer: str | None) -> None:
    assert official_answer(question(10), reply) == answer


def test_the_trigger_names_the_letters_that_there_are() -> None:
    assert trigger(question(4)) == "Therefore, among A through D, the answer is"
    assert official_answer(question(4), "A. Therefore, among A through D, the answer is B") == "B"
    assert official_answer(question(4), "A. Therefore, among A through J, the answer is B") == "B", (
        "it falls back on ' answer is '"
    )


def test_free_text_has_no_letters() -> None:
    with pytest.raises(ValueError, match="no options"):
        official_answer(Question("q", "?", {}, "aspirin"), "aspirin")
