"""Finished transcripts as rows of JSON, read into episodes: what `maporl reward` scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from maporl_cli.agents.answers import read_answer
from maporl_cli.agents.roles import role_book
from maporl_cli.core.types import Episode, Question, Snippet, Turn


class RowError(Exception):
    """A row is no transcript; its text says why."""


def read_transcript(row: object, name: str) -> Episode:
    """The episode that a row tells of.

    A row is `{"id"?, "question", "options"?, "answer", "context"?, "rationale"?, "evidence"?: [{"id",
    "text", "level"?}], "turns": [{"agent", "round", "text"}]}`.

    Args:
        name: the id of a row that has none.

    Raises:
        RowError: a field is missing or of another type, or an agent is unknown.
    """
    if not isinstance(row, Mapping):
        raise RowError("it is no JSON object")
    fields: Mapping[str, Any] = row  # pyright: ignore[reportUnknownVariableType]
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RowError("it holds half of a character (a lone surrogate)") from error
    options = fields.get("options") or {}
    if not isinstance(options, Mapping) or not all(isinstance(text, str) for text in options.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        raise RowError("its options are no object of letters and texts")
    question = Question(
        id=str(fields.get("id", name)),
        text=_text(fields, "question"),
        options={str(letter): str(text) for letter, text in options.items()},  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
        answer=_text(fields, "answer"),
        context=str(fields.get("context") or ""),
        evidence=tuple(_snippet(snippet) for snippet in _list(fields, "evidence", [])),
        rationale=str(fields.get("rationale") or ""),
    )
    if question.options and question.answer not in question.options:
        raise RowError(f"its answer {question.answer!r} is none of its options")
    turns = [
        _turn(turn, number, question.evidence)
        for number, turn in enumerate(_list(fields, "turns", None), start=1)
    ]
    answer = read_answer(question, turns[-1].text) if turns else None
    return Episode(question, sample=0, step=0, turns=turns, answer=answer)


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"it has no text {key!r}")
    return value


def _list(fields: Mapping[str, Any], key: str, default: list[object] | None) -> list[Any]:
    value = fields.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, list):
        raise RowError(f"it has no list {key!r}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _snippet(value: object) -> Snippet:
    if not isinstance(value, Mapping) or "id" not in value or not isinstance(value.get("text"), str):  # pyright: ignore[reportUnknownMemberType]
        raise RowError('a snippet of its evidence is not {"id", "text"}')
    return Snippet(str(value["id"]), str(value["text"]), str(value.get("level") or ""))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def _turn(value: object, number: int, evidence: tuple[Snippet, ...]) -> Turn:
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):  # pyright: ignore[reportUnknownMemberType]
        raise RowError(f"turn {number} has no text")
    agent, round_ = value.get("agent"), value.get("round", 0)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    known = role_book("guide").roles
    if not isinstance(agent, str) or agent not in known:
        raise RowError(f"turn {number} is by the unknown agent {agent!r}; known are {', '.join(known)}")
    if not isinstance(round_, int) or isinstance(round_, bool) or round_ < 0:
        raise RowError(f"the round of turn {number} is no number from 0")
    text = str(value["text"])  # pyright: ignore[reportUnknownArgumentType]
    return Turn(str(agent), round_, (), (), (), text, finished=True, policy_version=0, evidence=evidence)
