"""The role book of the built-in benchmark: four roles that speak in few, fixed words.

Its prompts are the bare view, the turns heard, and one word that says whose turn it is; its forms
let the reward tell a well-formed turn from anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from maporl_cli.agents.answers import read_quoted_answer
from maporl_cli.agents.roles import Role, RoleBook, register_role_book
from maporl_cli.agents.tiny import END
from maporl_cli.data.clinic.cases import (
    CURRENT,
    FIELDS,
    LETTERS,
    SUPERSEDED,
    TASKS,
    chart_entries,
    treatments,
)
from maporl_cli.data.clinic.demonstrations import SPEAK, keys


def _any(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, words))})"


_KEY = _any(key for field in keys() for key in field)
_TREATMENT, _ENTRY = _any(treatments()), _any(chart_entries())
_YEAR = _any((*CURRENT, *SUPERSEDED))
_ANSWER = re.compile(rf"answer {_TREATMENT} {_YEAR} \([{LETTERS}]\)")

CLINIC = RoleBook(
    name="clinic",
    roles={
        role.name: role
        for role in (
            Role(
                "planner",
                ("question",),
                SPEAK["planner"],
                re.compile(rf"check {_any(TASKS)} {_any(FIELDS)} {_KEY}"),
            ),
            Role(
                "researcher",
                ("evidence",),
                SPEAK["researcher"],
                re.compile(rf"cite {_KEY} {_YEAR} first {_TREATMENT} instead {_TREATMENT} when {_ENTRY}"),
            ),
            Role(
                "analyst",
                ("context",),
                SPEAK["analyst"],
                re.compile(rf"{_ENTRY} (?:yes|no) (?:first|instead) {_TREATMENT}"),
            ),
            Role("reporter", ("options",), SPEAK["reporter"], _ANSWER),
            Role("single", ("question", "evidence", "context", "options"), SPEAK["single"], _ANSWER),
        )
    },
    sections={"question": "{}", "context": "{}", "evidence": "{}", "options": "{}"},
    option="{text} ({letter})",
    snippet="{text}",
    turn=f"{{text}} {END}",  # a turn is heard as it was said, its end included
    separator=" ",
    write=lambda question, letter: f"answer {question.options[letter]} ({letter})",
    read=read_quoted_answer,  # or a letter guessed beside a treatment that is not on offer would be paid
)

register_role_book(CLINIC)
