"""Figures and what they belong to: a number is only as true as the words that it stands beside.

A text is read in parts, between commas and words that set one thing against another ("86% with A, against
12% with B"). Who gives A the figure of B has not cited, whatever else is right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.sentences import words_of
from maporl_cli.rewards.stems import content_stems

_PARTS = re.compile(
    r",(?!\d)|[;:()]|[.!?](?=\s)|\b(?:and|but|while|whereas|against|versus|vs|than|compared (?:with|to))\b",
    re.IGNORECASE,
)
_NUMERALS: Mapping[str, float] = {
    word: float(value)
    for value, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve".split(), start=2
    )
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text: its numbers, the stems of its other words, and its concepts."""

    numbers: frozenset[float]
    stems: frozenset[str]
    concepts: frozenset[Concept]


def numbers_of(text: str) -> dict[float, int]:
    """The numbers of a text, as digits or words up to twelve, with the decimals each is given to."""
    return dict(found for word in words_of(text) if (found := _number(word)) is not None)


def _number(word: str) -> tuple[float, int] | None:
    if word in _NUMERALS:
        return _NUMERALS[word], 0
    try:
        return float(word), len(word.partition(".")[2])
    except ValueError:
        return None


def are_given(said: Mapping[float, int], written: Mapping[float, int]) -> bool:
    """Whether each number that is said is written, as it is or rounded as it was said."""
    return all(
        value in written or any(round(other, decimals) == value for other in written)
        for value, decimals in said.items()
    )


@lru_cache(maxsize=8192)
def parts_of(text: str) -> tuple[Part, ...]:
    """The parts of a text that have a number."""
    found = (Part(*_read(part)) for part in _PARTS.split(text))
    return tuple(part for part in found if part.numbers)


def _read(text: str) -> tuple[frozenset[float], frozenset[str], frozenset[Concept]]:
    words = words_of(text)
    stems = frozenset(word for word in content_stems(text) if not word[0].isdigit() and word not in _NUMERALS)
    return frozenset(numbers_of(text)), stems, frozenset(mention.concept for mention in mentions(words))


def misplaced(said: str, written: str) -> bool:
    """Whether a figure that is said belongs, where it is written, to something else.

    Either two figures have changed places, or one stands with a drug (a disease, a test …) where it is
    written with another one of the kind.
    """
    ours, theirs = parts_of(said), parts_of(written)
    return any(
        _is_exchanged(part, number, ours, theirs) or _is_a_rivals(part, number, theirs)
        for part in ours
        for number in part.numbers
    )


def _is_exchanged(part: Part, number: float, ours: tuple[Part, ...], theirs: tuple[Part, ...]) -> bool:
    """Whether something beside the number is written beside another one only, and the reverse."""
    for word in part.stems:
        owners = _numbers_beside(word, theirs)
        if not owners or number in owners:
            continue
        for other in ours:
            if other.numbers & owners and not other.numbers & part.numbers and word not in other.stems:
                for rival in other.stems - part.stems:
                    its = _numbers_beside(rival, theirs)
                    if number in its and not its & owners:
                        return True
    return False


def _numbers_beside(word: str, parts: tuple[Part, ...]) -> frozenset[float]:
    return frozenset[float]().union(*(part.numbers for part in parts if word in part.stems))


def _is_a_rivals(part: Part, number: float, theirs: tuple[Part, ...]) -> bool:
    """Whether the number is written beside another thing of the kind, and this one beside another number."""
    rivals = {
        rival for written in theirs if number in written.numbers for rival in written.concepts - part.concepts
    }
    for concept in part.concepts:
        owners = frozenset[float]().union(*(other.numbers for other in theirs if concept in other.concepts))
        if owners and not owners & part.numbers and any(rival.kind == concept.kind for rival in rivals):
            return True
    return False
