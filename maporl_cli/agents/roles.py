"""Who sits in a team: what each role may see, and what it is asked to say.

A role is data. A role book holds roles that are made to work together, and how their prompts
are laid out; `examples/` adds a fifth agent by registering one more role in one file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from maporl_cli.agents.answers import Reader, Writer, read_answer
from maporl_cli.core.errors import ConfigError

Section = Literal["question", "context", "evidence", "options"]


@dataclass(frozen=True, slots=True)
class Role:
    """A seat's view and instruction.

    Attributes:
        name: the seat it is for; an agent takes the role of its own name.
        sees: the sections of the question that this seat may see, in prompt order.
            What teammates said before is always heard.
        instruction: the last part of the prompt.
        open_instruction: the last part of the prompt of a question without options; empty: the same.
        form: what a whole turn must look like, for roles whose language is fixed; None: anything
            but silence.
        fields: what a turn must hold, by name; measured one by one, so that it shows which is lost.
    """

    name: str
    sees: tuple[Section, ...]
    instruction: str
    form: re.Pattern[str] | None = None
    open_instruction: str = ""
    fields: Mapping[str, re.Pattern[str]] = field(default_factory=dict[str, re.Pattern[str]])

    def has_form(self, text: str) -> bool:
        """Whether a turn's text looks as this role's turns must."""
        return bool(text.strip()) if self.form is None else self.form.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class RoleBook:
    """Roles that work together, and the layout their prompts share.

    Attributes:
        name: what `team.roles` calls it.
        roles: by seat name.
        sections: a template a section; `{}` is replaced by the section's text.
        option, snippet, turn: templates of one option (`letter`, `text`), one snippet (`id`,
            `text`) and one earlier turn (`agent`, `text`).
        separator: what stands between the parts.
        read: reads the answer out of a report.
        write: writes a report for an option; None where nobody needs to know how likely one is.
    """

    name: str
    roles: dict[str, Role]
    sections: Mapping[Section, str]
    option: str = "({letter}) {text}"
    snippet: str = "[{id}] {text}"
    turn: str = "{agent}: {text}"
    separator: str = "\n"
    read: Reader = read_answer
    write: Writer | None = None

    def role(self, name: str) -> Role:
        """The role of the seat `name`.

        Raises:
            ConfigError: the book has no such role.
        """
        if name not in self.roles:
            raise ConfigError(
                f"The role book {self.name!r} has no role for the agent {name!r}.",
                where="team.agents",
                why=f"it knows: {', '.join(self.roles)}",
                fix="rename the agent, or register its role in a plug-in (see examples/agent_critic.py)",
            )
        return self.roles[name]


_REPORTER = (
    "You are the reporter. Decide on the final answer. Reply with one line: 'Answer: ' and the letter "
    "of the best option, your confidence from 0 to 100 in parentheses, and '. Not medical advice.'"
)

_OPEN_REPORTER = (
    "You are the reporter. Decide on the final answer. Reply with one line: 'Answer: ' and the answer in "
    "as few words as possible, your confidence from 0 to 100 in parentheses, and '. Not medical advice.'"
)

_BRIEF_REPORTER = (
    "You are the reporter. Reply with the letter of the best option only, in the form 'Answer: (letter)'."
)

_OPEN_BRIEF_REPORTER = "You are the reporter. Reply with the answer only, in the form 'Answer: …'."

_REPORT = {
    "answer": re.compile(r"\banswer\s*:", re.IGNORECASE),
    "confidence": re.compile(r"\(\s*\d{1,3}\s*%?\s*\)"),
    "disclaimer": re.compile(r"\bnot medical advice\b", re.IGNORECASE),
}

_FLAGS = " Answer any safety flag with 'Flag answered:'."

GUIDE = RoleBook(
    name="guide",
    roles={
        role.name: role
        for role in (
            Role(
                "planner",
                ("question",),
                "You are the planner. In one short sentence, say what kind of question this is "
                "and what to look up.",
            ),
            Role(
                "researcher",
                ("question", "evidence"),
                "You are the researcher. In one short sentence, give the fact that decides this question; "
                "quote evidence by its [id] where there is some.",
            ),
            Role(
                "analyst",
                ("question", "context", "options"),
                "You are the analyst. In one short sentence, name the option that fits the findings best "
                "and why. If an option would harm this patient, write 'Safety flag:' and why.",
            ),
            Role(
                "reporter",
                ("question", "options"),
                _REPORTER + _FLAGS,
                open_instruction=_OPEN_REPORTER + _FLAGS,
                fields=_REPORT,
            ),
            Role(
                "single",
                ("question", "context", "evidence", "options"),
                _REPORTER,
                open_instruction=_OPEN_REPORTER,
                fields=_REPORT,
            ),
        )
    },
    sections={
        "question": "Question: {}",
        "context": "Patient: {}",
        "evidence": "Evidence:\n{}",
        "options": "Options:\n{}",
    },
    write=lambda _, letter: f"Answer: {letter}",  # what follows the letter is the same for each
)

BRIEF = replace(
    GUIDE,
    name="brief",
    write=lambda _, letter: f"Answer: ({letter})",
    roles={
        role.name: role
        for role in (
            Role(
                "planner",
                ("question",),
                "You are the planner. Name the topic of this question in five words.",
            ),
            Role(
                "researcher",
                ("question", "evidence"),
                "You are the researcher. State the one fact that decides this question in ten words.",
            ),
            Role(
                "analyst",
                ("question", "context", "options"),
                "You are the analyst. Name the option that fits best in ten words.",
            ),
            Role(
                "reporter",
                ("question", "options"),
                _BRIEF_REPORTER,
                open_instruction=_OPEN_BRIEF_REPORTER,
            ),
            Role(
                "single",
                ("question", "context", "evidence", "options"),
                _BRIEF_REPORTER,
                open_instruction=_OPEN_BRIEF_REPORTER,
            ),
        )
    },
)
"""The same seats for models that lose the thread of a long instruction: one short demand each."""

_BOOKS: dict[str, RoleBook] = {book.name: book for book in (GUIDE, BRIEF)}


def register_role_book(book: RoleBook) -> None:
    """Make `book` available as `team.roles: <book.name>`."""
    _BOOKS[book.name] = book


def register_role(role: Role, *, book: str = "guide") -> None:
    """Add a seat to a role book, so that `team.agents` can name it."""
    role_book(book).roles[role.name] = role


def role_book(name: str) -> RoleBook:
    """The role book called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in _BOOKS:
        raise ConfigError(
            f"There is no role book {name!r}.",
            where="team.roles",
            why=f"registered are: {', '.join(_BOOKS)}",
            fix="use one of these, or list the plug-in that registers it in run.plugins",
        )
    return _BOOKS[name]
