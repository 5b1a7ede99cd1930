"""A request: one question row, or a list of them, in any of the published shapes (`data.formats`).

A reason names places, fields and ids, never a word of a question.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from math import isfinite
from typing import cast

from maporl_cli.core.errors import DataError
from maporl_cli.core.harmless import harmless
from maporl_cli.core.request_limits import BODY, CHARACTERS, ROWS
from maporl_cli.core.types import Question
from maporl_cli.data.fields import RowError
from maporl_cli.data.formats import RESERVED_FIELDS, read_row
from maporl_cli.data.json_stream import parse
from maporl_cli.serving.refusals import TooLarge

DEPTH = 8
"""Of lists and objects in one another, within a question; the published shapes have at most 4."""
JSON = "application/json"

_SHAPE = 'send {"id": "1", "question": "…", "options": {"A": "…", "B": "…"}}, or a list of such objects'
_SHOWN = 60
"""Characters of an id in a reason."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        questions: at least one.
        ids: what to call each answer: the id as it was sent, or one that is made of the content.
        is_list: whether they came as a list, and go so.
    """

    questions: tuple[Question, ...]
    ids: tuple[str | int, ...]
    is_list: bool


def read_request(body: bytes | bytearray | str, content_type: str | None) -> Asked:
    """The questions in the body of a request.

    They need no gold answer, and nobody is shown one. A question without options is asked for an answer in
    words. Fields that no published shape has are ignored.

    Raises:
        TooLarge: the body, the list or a question is too long.
        DataError: it is anything else than a question or a list of questions.
    """
    _refuse_other_types(content_type)
    if len(body) > BODY:
        raise too_long()
    value = _parsed(body)
    is_list = isinstance(value, list)
    rows = cast(Sequence[object], value if is_list else [value])
    if not rows:
        raise _malformed("the list is empty")
    if len(rows) > ROWS:
        raise TooLarge(
            "The request holds too many questions.",
            why=f"it has {len(rows)}, and a request may have {ROWS}",
            fix="send them in several requests; those that wait at the same time are answered together",
        )
    read = [_question(row, f"question {n}" if is_list else "") for n, row in enumerate(rows, start=1)]
    return Asked(tuple(one for one, _ in read), tuple(name for _, name in read), is_list)


def too_long() -> TooLarge:
    """The error for a body of more bytes than are read."""
    return TooLarge(
        "The request is too long.",
        why=f"a request may have {BODY:,} bytes",
        fix="send its questions in several requests, and less evidence with each",
    )


def _refuse_other_types(content_type: str | None) -> None:
    header = Message()
    header["content-type"] = harmless(content_type or "")
    charset = header.get_content_charset("utf-8")
    if header.get_content_type() != JSON or charset not in ("utf-8", "us-ascii"):
        raise DataError(
            "The request is of a type that is not read.",
            why=f"its content type is {header['content-type'][:_SHOWN] or 'not given'}",
            fix=f"send JSON, in UTF-8, with the header Content-Type: {JSON}",
        )


def _parsed(body: bytes | bytearray | str) -> object:
    try:
        value = parse(body if isinstance(body, str) else body.decode())
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _malformed(
            f"it is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    except ValueError:
        raise _malformed("a number in it is too long") from None
    if isinstance(value, RowError):
        raise _malformed("an object in it has two fields of the same name")
    return value


def _question(row: object, place: str) -> tuple[Question, str | int]:
    """A row's question, and what to call its answer."""
    name: object = None
    try:
        _refuse_unlike_a_row(row, place)
        if isinstance(row, dict):
            fields = cast(Mapping[str, object], row)
            name = fields.get("id")
            # Without the fields that would be labels, whose names are the asker's own; with an answer that
            # nobody knows, by which a question without options is recognised.
            row = {"answer": None} | {field: fields[field] for field in fields if field in RESERVED_FIELDS}
        question, _ = read_row(row, unlabelled=True)
    except RowError as error:
        called = f"id {harmless(str(name))[:_SHOWN]}" if isinstance(name, str | int) else ""
        where = ", ".join(part for part in (place, called) if part)
        raise _malformed(str(error), where) from None
    sent = isinstance(name, int) or (isinstance(name, str) and name.strip())
    # What goes wrong later names a question by its id, to logs as well.
    shown = replace(question, id=harmless(question.id)[:_SHOWN])
    return shown, cast("str | int", name) if sent else question.id


def _refuse_unlike_a_row(row: object, place: str) -> None:
    """Refuses what no question is, before anything looks at what it says."""
    level: list[object] = [row]
    characters = 0
    for _ in range(DEPTH + 1):
        for item in level:
            if isinstance(item, float) and not isfinite(item):
                raise RowError("a number in it is not finite")
            if isinstance(item, str):
                characters += len(item)
        level = [part for item in level for part in _parts(item)]
    if level:
        raise RowError("it is nested too deeply")
    if characters > CHARACTERS:
        raise TooLarge(
            "A question of the request is too long.",
            where=place,
            why=f"it has {characters:,} characters with all that belongs to it, and may have {CHARACTERS:,}",
            fix="shorten it, or send less evidence with it",
        )


def _parts(item: object) -> Iterable[object]:
    if isinstance(item, dict):
        fields = cast("dict[str, object]", item)
        return (*fields, *fields.values())
    return cast("list[object]", item) if isinstance(item, list) else ()


def _malformed(why: str, where: str = "") -> DataError:
    return DataError("The request is no question.", where=where, why=why, fix=_SHAPE)
