"""Options and gold letters: every way in which a published row writes them.

Options are a list of `{"letter", "content"}`, a list of texts, an object from letter to text,
or part of the question's text after `Answer Choices:`. The gold answer is a letter, a list of
one letter, an index counted from 0, or (in a field `answer`) the text of an option.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from string import ascii_uppercase
from typing import cast

from maporl_cli.data.fields import Row, RowError, text

MARKER = "Answer Choices:"
GOLD_FIELDS = ("label", "answer_idx", "answer")

_LETTER_MARK = re.compile(r"(?<!\S)\(([A-Z])\)(?!\S)")


def split_choices(question: str) -> tuple[str, dict[str, str]]:
    """The stem, and the options written behind the last `Answer Choices:` of `question`.

    A mark such as `(B)` opens an option where it stands between white space and continues the
    sequence A, B, C, …; other parentheses are part of an option's text. The longest sequence
    is taken. Where two marks could open the same option, nothing in the text decides.

    Raises:
        RowError: the stem is empty, there are no two options, an option has no text, or the
            options can be told apart in more than one way.
    """
    stem, marker, tail = question.rpartition(MARKER)
    if not marker:
        raise RowError(f"no options: there is no {MARKER!r} in the question")
    marks = [(match.group(1), match.start(), match.end()) for match in _LETTER_MARK.finditer(tail)]
    first = _sequence(marks, ascii_uppercase)
    if len(first) < 2 or tail[: first[0][1]].strip():
        raise RowError(f"no options: what follows {MARKER!r} is not (A) … (B) …")
    last = _sequence(reversed(marks), "".join(reversed(ascii_uppercase[: len(first)])))[::-1]
    for (letter, start, _), (_, other_start, _) in zip(first, last, strict=True):
        if start != other_start:
            raise RowError(f"the choices can be split in two ways: two marks ({letter}) fit the sequence")
    ends = [start for _, start, _ in first[1:]] + [len(tail)]
    options = {
        letter: text(tail[begin:end], f"the text of option {letter}")
        for (letter, _, begin), end in zip(first, ends, strict=True)
    }
    return text(stem, "the question before its choices"), options


def _sequence(marks: Iterable[tuple[str, int, int]], letters: str) -> list[tuple[str, int, int]]:
    """The earliest marks that spell a prefix of `letters`, in order."""
    found: list[tuple[str, int, int]] = []
    for mark in marks:
        if len(found) < len(letters) and mark[0] == letters[len(found)]:
            found.append(mark)
    return found


def cut_choices(question: str, options: Mapping[str, str]) -> str:
    """The stem of a question whose options are also a field of their row.

    Raises:
        RowError: the choices in the text are not those options.
    """
    stem, marker, tail = question.rpartition(MARKER)
    if not marker or not _LETTER_MARK.match(tail.strip()):
        return question
    written = "".join(f"({letter}){content}" for letter, content in options.items())
    if "".join(tail.split()) != "".join(written.split()):
        raise RowError("the choices in the question's text differ from its options")
    return text(stem, "the question before its choices")


def read_options(value: object) -> dict[str, str]:
    """Letter to text, in the row's order, from a field that holds the options.

    Raises:
        RowError: fewer than two options, or one with no text, no letter, or another's letter.
    """
    if isinstance(value, dict):
        pairs = [(letter, content) for letter, content in cast(Row, value).items()]
    elif isinstance(value, list):
        pairs = [_listed_option(i, item) for i, item in enumerate(cast(list[object], value))]
    else:
        raise RowError("no options: 'options' is neither a list nor an object")
    options: dict[str, str] = {}
    for raw_letter, content in pairs:
        letter = raw_letter.strip().upper() if isinstance(raw_letter, str) else ""
        if len(letter) != 1 or letter not in ascii_uppercase:
            raise RowError(f"option {len(options) + 1} has no letter from A to Z")
        if letter in options:
            raise RowError(f"duplicate letter: two options are {letter}")
        options[letter] = text(content, f"the text of option {letter}")
    if len(options) < 2:
        raise RowError("no options: a question has at least two" if not options else "only one option")
    return options


def _listed_option(index: int, item: object) -> tuple[object, object]:
    if isinstance(item, dict):
        option = cast(Row, item)
        return option.get("letter"), option.get("content")
    if index >= len(ascii_uppercase):
        raise RowError(f"more than {len(ascii_uppercase)} options")
    return ascii_uppercase[index], item


def gold_letter(row: Row, options: Mapping[str, str]) -> str:
    """The gold letter that every gold field of `row` agrees on; empty where none of them says anything.

    Raises:
        RowError: an unreadable gold field, or two that contradict each other; or another option has
            the gold one's text, so that whoever picks it is right and marked wrong.
    """
    readings = {
        name: _letters_meant(row[name], name, options)
        for name in GOLD_FIELDS
        if row.get(name) not in (None, "", [])
    }
    if not readings:
        return ""
    agreed = {letter for letter in options if all(letter in meant for meant in readings.values())}
    if not agreed:
        raise RowError(f"two labels: {' and '.join(map(repr, readings))} disagree")
    if len(agreed) > 1:
        raise RowError(f"the label fits more than one option: {', '.join(sorted(agreed))}")
    gold = agreed.pop()
    # Not case-folded: AA and Aa are two genotypes.
    twins = [letter for letter in options if options[letter].split() == options[gold].split()]
    if len(twins) > 1:
        raise RowError(f"two options are the right answer: {' and '.join(twins)} have the same text")
    return gold


def _letters_meant(value: object, name: str, options: Mapping[str, str]) -> set[str]:
    """Every letter that the gold field `name` can mean; never empty."""
    if isinstance(value, list):
        values = cast(list[object], value)
        if len(values) > 1:
            raise RowError(f"two labels: {name!r} lists {len(values)}")
        return _letters_meant(values[0], name, options)
    if isinstance(value, int) and not isinstance(value, bool):
        letters = list(options)
        if not 0 <= value < len(letters):
            raise RowError(f"{name!r} is index {value}, but {len(letters)} options are counted from 0")
        return {letters[value]}
    gold = text(value, repr(name))
    meant = {gold.upper()} & set(options)
    if name == "answer":
        meant |= {letter for letter, content in options.items() if _folded(content) == _folded(gold)}
    if meant:
        return meant
    if len(gold) == 1:
        raise RowError(f"the gold letter {gold} is not among the options {', '.join(options)}")
    raise RowError(f"{name!r} is not the letter{' or text' if name == 'answer' else ''} of an option")


def _folded(content: str) -> str:
    return " ".join(content.casefold().split())
