"""Format: the share of turns in the form their roles ask for."""

import re

import pytest
from support import question, turn

from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.core.types import Episode
from maporl_cli.rewards.format import well_formed

BOOK = RoleBook(
    name="toy",
    roles={
        "planner": Role("planner", (), "", re.compile(r"w\d")),
        "reporter": Role("reporter", (), "", re.compile(r"Answer: [A-Z]")),
        "free": Role("free", (), ""),
    },
    sections={},
)


def share(*turns, answer: str | None = "A"):
    return well_formed(Episode(question(), 0, 1, turns=list(turns), answer=answer), BOOK)


GOOD, BAD = turn("planner", text="w1"), turn("planner", text="w1 w2")
REPORT = turn("reporter", text="Answer: A")


@pytest.mark.parametrize(
    ("turns", "answer", "expected"),
    [
        ((GOOD, REPORT), "A", 1.0),
        ((BAD, REPORT), "A", 1 / 2),
        ((GOOD, BAD, GOOD, REPORT), "A", 3 / 4),
        ((GOOD, turn("reporter", text="Answer: F")), None, 1 / 2),
        ((BAD, turn("reporter", text="hm")), None, 0.0),
        # an unreadable answer costs the last turn, not the others
        ((REPORT, GOOD, turn("free", text="hm")), None, 2 / 3),
        # and its form is asked for beside the answer
        ((GOOD, turn("reporter", text="well, (A)")), "A", 1 / 2),
        # a turn that was cut has no end, so no form
        ((turn("planner", text="w1", finished=False), REPORT), "A", 1 / 2),
        ((GOOD, turn("reporter", text="Answer: A", finished=False)), "A", 1 / 2),
        # a role without a form takes any text but silence
        ((turn("free", text=" \n"), REPORT), "A", 1 / 2),
        ((turn("free", text="anything at all"), REPORT), "A", 1.0),
    ],
)
def test_share(turns, answer, expected):
    assert share(*turns, answer=answer) == pytest.approx(expected)
