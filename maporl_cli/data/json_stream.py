"""JSON read from a file of any size: the elements of an array or the members of an object, one by one.

The values are parsed by the standard library; this module only finds where each one ends.
Streaming parsers for Python lose what a checker of data must see: keys that stand twice, halves
of surrogate pairs; or they hold on to long texts.
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from maporl_cli.data.fields import RowError

_BLOCK = 1 << 16
# A value may be as long as this, in characters; a string that is never closed ends here too.
_LONGEST = 1 << 26
_SPACE = " \t\n\r"
# "\ud83d" or "-Infinity" cut short: an error this near to the end of what was read may be no error.
_NEAR_END = 12


class Unreadable(ValueError):
    """The file is not JSON from some place on. Messages quote nothing of it."""


def parse(text: str) -> object:
    """The one JSON value in `text`, or a `RowError` where an object has a key twice.

    Raises:
        json.JSONDecodeError, RecursionError, ValueError: as `json.loads`.
    """
    problems: list[RowError] = []
    value: object = _decoder(problems).decode(text)
    return problems[0] if problems else value


def repeated_key(pairs: list[tuple[str, Any]]) -> RowError | None:
    """The reason against an object with a key twice: Python would keep the last without a word."""
    counts = Counter(key for key, _ in pairs)
    if len(counts) == len(pairs):
        return None
    key = next(key for key, count in counts.items() if count > 1)
    if len(key) == 1 and key.isupper():
        return RowError(f"duplicate letter: two options are {key}")
    return RowError(f"two fields of an object have the same name {key[:40]!r}")


def _decoder(problems: list[RowError]) -> json.JSONDecoder:
    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        problem = repeated_key(pairs)
        if problem is not None:
            problems.append(problem)
        return dict(pairs)

    return json.JSONDecoder(object_pairs_hook=keep)


class JsonStream:
    """A place in a JSON text that is read block by block.

    Every method raises `Unreadable` where the text is not JSON.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        # Bytes that are not UTF-8 become lone surrogates, so that they spoil one value, not the file.
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._ended = False
        self._problems: list[RowError] = []
        self._decoder = _decoder(self._problems)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._read_on()

    def value(self) -> object:
        """The value that comes next; a `RowError` where it is no fit row whatever it holds."""
        self.peek()
        while True:
            self._problems.clear()
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                self._read_on_or_fail(error)
            except RecursionError:
                raise Unreadable("nested too deeply") from None
            except ValueError:
                raise Unreadable("a number is too long") from None
            else:
                # A number so near to the end may go on: "1" of "1.5", "1" of "1e-5".
                if end < len(self._text) - 2 or self._ended:
                    break
                self._read_on()
        written, self._at = self._text[self._at : end], end
        if not _is_unicode(written):
            return RowError("bad unicode: it holds bytes that are not UTF-8")
        return self._problems[0] if self._problems else value

    def elements(self) -> Iterator[object]:
        """The elements of the array that comes next."""
        for _ in self._items("[", "]"):
            yield self.value()

    def members(self) -> Iterator[tuple[str, object]]:
        """The keys and values of the object that comes next."""
        for _ in self._items("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise Unreadable("not JSON: the key of an object is not text")
            self._expect(":")
            yield key, self.value()

    def _items(self, start: str, end: str) -> Iterator[None]:
        """Yields where an item comes next."""
        self._expect(start)
        if self.peek() != end:
            yield
            while self.peek() == ",":
                self._at += 1
                yield
        self._expect(end)

    def _expect(self, character: str) -> None:
        found = self.peek()
        if found != character:
            wanted = f"{character!r} is missing"
            raise Unreadable(f"not JSON: {wanted}" if found else f"it ends too early: {wanted}")
        self._at += 1

    def _read_on(self) -> None:
        """Forgets what was used and doubles what is left, so that a long value is tried few times."""
        rest = self._text[self._at :]
        if len(rest) > _LONGEST:
            raise Unreadable(f"a value is longer than {_LONGEST} characters")
        block = self._file.read(max(_BLOCK, len(rest)))
        self._ended = not block
        self._text, self._at = rest + self._utf8.decode(block, final=self._ended), 0

    def _read_on_or_fail(self, error: json.JSONDecodeError) -> None:
        """Reads on where the value may only have been cut; an open string is blamed on its start."""
        cut = error.pos >= len(self._text) - _NEAR_END or error.msg.startswith("Unterminated string")
        if not cut:
            raise Unreadable(f"not JSON: {error.msg}") from None
        if self._ended:
            raise Unreadable("it ends in the middle of a value") from None
        self._read_on()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
