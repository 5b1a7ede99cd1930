"""Rows of a JSONL or JSON file, one at a time, whatever the file's size.

Every row comes with its place. A line that is not JSON is a row with a reason; a `.json` file
that is broken cannot be read on and ends in `Unreadable`.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maporl_cli.data.fields import RowError
from maporl_cli.data.formats import RESERVED_FIELDS
from maporl_cli.data.json_stream import JsonStream, Unreadable, parse, repeated_key

__all__ = ["Row", "Unreadable", "stream_rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in the file.

    Attributes:
        place: `line 17` of a JSONL file, `row 17` or `row 17 (key 10808977)` of a JSON file.
        value: the JSON value, or a `RowError` with the reason why there is none.
        key: the row's key in a file that is one object, else empty.
    """

    place: str
    value: object
    key: str = ""


def stream_rows(path: Path) -> Iterator[Row]:
    """The rows of `path`; `.json` holds an array, an object of rows or several values, else a row a line.

    Raises:
        OSError: the file cannot be opened or read.
        Unreadable: a `.json` file is broken.
    """
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        yield from _values(JsonStream(file)) if path.suffix.lower() == ".json" else _lines(file)


def _lines(file: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield Row(f"line {number}", _line(line))


def _line(line: bytes) -> object:
    try:
        return parse(line.decode())
    except UnicodeDecodeError as error:
        return RowError(f"bad unicode: byte {error.start + 1} of the line is not UTF-8")
    except json.JSONDecodeError as error:
        return RowError(f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}")
    except RecursionError:
        return RowError("not a row: nested too deeply")
    except ValueError:
        return RowError("not JSON that can be read: a number is too long")


def _values(stream: JsonStream) -> Iterator[Row]:
    """Rows of a `.json` file: elements of its array, members of its object, or its values."""
    number = 0
    while first := stream.peek():
        if first == "[":
            for value in stream.elements():
                number += 1
                yield Row(f"row {number}", value)
        elif first == "{":
            for row in _members(stream, number):
                number += 1
                yield row
        else:
            number += 1
            yield Row(f"row {number}", stream.value())


def _members(stream: JsonStream, before: int) -> Iterator[Row]:
    """The rows of the object that comes next: one a key, or the object itself.

    Its first member tells: a collection's is an object under a key that no row has.
    """
    pairs: list[tuple[str, object]] = []
    number = before
    for key, value in stream.members():
        if number > before or (not pairs and key not in RESERVED_FIELDS and _is_row(value)):
            number += 1
            yield Row(f"row {number} (key {key[:40]})", value, key)
        else:
            pairs.append((key, value))
    if number == before:
        yield Row(f"row {number + 1}", _whole(pairs))


def _is_row(value: object) -> bool:
    return isinstance(value, dict | RowError)


def _whole(pairs: list[tuple[str, object]]) -> object:
    """The object of `pairs`, or the first reason why it cannot be used."""
    broken = next((value for _, value in pairs if isinstance(value, RowError)), None)
    return broken or repeated_key(pairs) or dict(pairs)
