"""Rows of a JSONL or JSON file, one at a time, whatever the file's size.

Every row comes with its place. A line that is not JSON is a row with a reason; a `.json` file
that breaks off cannot be read on and ends in `Unreadable`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import ijson  # pyright: ignore[reportMissingTypeStubs]
from ijson import IncompleteJSONError, JSONError  # pyright: ignore[reportMissingTypeStubs]

from maporl_cli.data.fields import RowError
from maporl_cli.data.formats import RESERVED_FIELDS

# ijson's C backends turn half a surrogate pair into "?" without a word; its Python backend does not.
_PARSER: Any = cast(Any, ijson).get_backend("python")


_END_ARRAY = ("end_array", None)
_END_MAP = ("end_map", None)


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


class Unreadable(ValueError):
    """The file is not JSON from some place on."""


def stream_rows(path: Path) -> Iterator[Row]:
    """The rows of `path`; `.json` holds an array, an object of rows or several values, else a row a line.

    Raises:
        OSError: the file cannot be opened or read.
        Unreadable: a `.json` file is broken.
    """
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        if path.suffix.lower() != ".json":
            yield from _lines(file)
            return
        if not path.stat().st_size:
            return
        try:
            yield from _values(file)
        except RecursionError:
            raise Unreadable("nested too deeply") from None


def _lines(file: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield Row(f"line {number}", _parse(line))


def _parse(line: bytes) -> object:
    try:
        return json.loads(line.decode(), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        return RowError(f"bad unicode: byte {error.start + 1} of the line is not UTF-8")
    except json.JSONDecodeError as error:
        return RowError(f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return RowError("not a row: nested too deeply")
    except RowError as error:
        return error
    except ValueError:
        return RowError("not JSON that can be read: a number is too long")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object; JSON lets a key stand twice, and Python would keep the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RowError(_repeated([key for key, _ in pairs]))
    return found


def _repeated(keys: list[str]) -> str:
    key = next(key for key in keys if keys.count(key) > 1)
    if len(key) == 1 and key.isupper():
        return f"duplicate letter: two options are {key}"
    return f"two fields of an object have the same name {key[:40]!r}"


def _values(file: IO[bytes]) -> Iterator[Row]:
    """Rows of a `.json` file: elements of its array, members of its object, or its values."""
    events = _Events(file)
    number = 0
    for event, value in events:
        if event == "start_array":
            for element in iter(events.__next__, _END_ARRAY):
                number += 1
                yield Row(f"row {number}", events.build(*element))
        elif event == "start_map":
            for row in _members(events, number):
                number += 1
                yield row
        else:
            number += 1
            yield Row(f"row {number}", value)


def _members(events: _Events, before: int) -> Iterator[Row]:
    """The rows of an object whose start was read: one a key, or the object itself.

    Its first member tells: a collection's is an object under a key that no row has.
    """
    pairs: list[tuple[str, object]] = []
    number = before
    for _, name in iter(events.__next__, _END_MAP):
        key = cast(str, name)
        value = events.build(*next(events))
        if number > before or (not pairs and key not in RESERVED_FIELDS and _is_row(value)):
            number += 1
            yield Row(f"row {number} (key {key[:40]})", value, key)
        else:
            pairs.append((key, value))
    if pairs:
        yield Row(f"row {number + 1}", _object(pairs))


def _is_row(value: object) -> bool:
    return isinstance(value, dict | RowError)


def _object(pairs: list[tuple[str, object]]) -> object:
    broken = next((value for _, value in pairs if isinstance(value, RowError)), None)
    if broken is not None:
        return broken
    try:
        return _unique_keys(pairs)
    except RowError as error:
        return error


class _Events:
    """ijson's events, with a value built from those that belong to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._events: Iterator[tuple[str, object]] = _PARSER.basic_parse(
            file, multiple_values=True, use_float=True
        )

    def __iter__(self) -> Iterator[tuple[str, object]]:
        return self

    def __next__(self) -> tuple[str, object]:
        try:
            return next(self._events)
        except (JSONError, ValueError) as error:
            raise Unreadable(_without_text(error)) from None

    def build(self, event: str, value: object) -> object:
        """The value that `event` starts, read to its end; a reason where a key stands twice."""
        if event == "start_array":
            built = [self.build(*element) for element in iter(self.__next__, _END_ARRAY)]
            return next((item for item in built if isinstance(item, RowError)), built)
        if event == "start_map":
            members = iter(self.__next__, _END_MAP)
            return _object([(cast(str, name), self.build(*next(self))) for _, name in members])
        return value


def _without_text(error: Exception) -> str:
    """What is wrong and where, without the symbol that ijson quotes from the file."""
    if any(isinstance(cause, UnicodeDecodeError) for cause in (error, *error.args)):
        return "bad unicode: not UTF-8"
    if isinstance(error, IncompleteJSONError):
        return "it ends in the middle of a value"
    place = re.search(r" at (\d+)$", str(error))
    return f"not JSON at character {int(place.group(1)) + 1}" if place else "not JSON"
