"""The role book of the built-in benchmark: four roles that speak in few, fixed words.

Its prompts are the bare view, the turns heard, and one word that says whose turn it is; its forms
let the reward tell a well-formed turn from anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from maporl_cli.agents.answers import read_quoted_answer
from maporl_cli.agents.roles import Role, RoleBook, Section, register_role_book
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


def _role(name: str, sees: tuple[Section, ...], **fields: str) -> Role:
    """A role whose turns are its fields, one after the other."""
    form = re.compile(" ".join(fields.values()))
    apart = {field: re.compile(rf"(?<!\S)(?:{pattern})(?!\S)") for field, pattern in fields.items()}
    return Role(name, sees, SPEAK[name], form, fields=apart)


_KEY = _any(key for field in keys() for key in field)
_TREATMENT, _ENTRY = _any(treatments()), _any(chart_entries())
_YEAR = _any((*CURRENT, *SUPERSEDED))
_ANSWER = {"treatment": f"answer {_TREATMENT}", "year": _YEAR, "letter": rf"\([{LETTERS}]\)"}

CLINIC = RoleBook(
    name="clinic",
    roles={
        role.name: role
        for role in (
            _role("planner", ("question",), task=f"check {_any(TASKS)}", part=_any(FIELDS), key=_KEY),
            _role(
                "researcher",
                ("evidence",),
                key=f"cite {_KEY}",
                year=_YEAR,
                first=f"first {_TREATMENT}",
                instead=f"instead {_TREATMENT}",
                when=f"when {_ENTRY}",
            ),
            _role(
                "analyst",
                ("context",),
                entry=_ENTRY,
                status="(?:yes|no)",
                branch="(?:first|instead)",
                treatment=_TREATMENT,
            ),
            _role("reporter", ("options",), **_ANSWER),
            _role("single", ("question", "evidence", "context", "options"), **_ANSWER),
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
