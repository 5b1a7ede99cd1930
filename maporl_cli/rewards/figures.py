"""Figures and what they belong to: a number is only as true as the words that it stands beside.

A text is read in parts, between commas and words that set one thing against another ("86% with A, against
12% with B"). Who gives A the figure of B has not cited, whatever else is right.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.directions import FALL, RISE
from maporl_cli.rewards.measures import number
from maporl_cli.rewards.sentences import sentences, words_of
from maporl_cli.rewards.stems import content_stems, stem

_PARTS = re.compile(
    r",(?!\d)|[;:()]|[.!?](?=\s)|\b(?:and|but|while|whereas|against|versus|vs|than|compared (?:with|to))\b",
    re.IGNORECASE,
)
_NUMERALS: Mapping[str, float] = {
    **{
        word: float(value)
        for value, word in enumerate(
            "two three four five six seven eight nine ten eleven twelve".split(), start=2
        )
    },
    **{
        word: 10.0 * tens
        for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
    },
}
_COUNTED = frozenset(
    "of in out times fold percent minute minutes hour hours day days week weeks month months year years "
    "points".split()
)
"""Before these a number in words is a figure: "three of 75", not "three drugs"."""
_LABELLED = frozenset("question step part option point item round".split())
"""Behind these a number is a name."""
_AT_LEAST = frozenset("than over above least beyond exceeding".split())
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s?(?:%|percent)")
_HALF = 50
_MOST = re.compile(
    r"\bmost (?:of|patients|people|women|men|children|cases)\b|\bmostly\b|\bmajority\b"
    r"|\b(?:nearly|almost) (?:all|every)",
    re.IGNORECASE,
)
_DENIES = frozenset("no not never neither nor without".split())
_ABOUT = 1.2
"""How far beyond what is said a figure may lie that is "more than" it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text: its numbers, the stems of its other words, and its concepts."""

    numbers: frozenset[float]
    stems: frozenset[str]
    concepts: frozenset[Concept]


def numbers_of(text: str) -> dict[float, int]:
    """The figures of a text, in digits or words, with the decimals that each is given to."""
    return {value: decimals for value, decimals, _ in _figures(text)}


def _figures(text: str) -> Iterator[tuple[float, int, bool]]:
    """Value, decimals, and whether it is said to be more than that."""
    words = words_of(text)
    for place, word in enumerate(words):
        before, behind = words[place - 1 : place], words[place + 1 : place + 2]
        more = not _AT_LEAST.isdisjoint(before)
        if word.endswith("fold") and word[:-4] in _NUMERALS:
            yield _NUMERALS[word[:-4]], 0, more
        elif word in _NUMERALS and not _COUNTED.isdisjoint(behind):
            yield _NUMERALS[word], 0, more
        elif word[0].isdigit() and _LABELLED.isdisjoint(before) and (value := number(word)) == value:
            yield value, len(word.partition(".")[2]), more


def are_given(said: str, written: str, known: Container[str] = ()) -> bool:
    """Whether each figure that is said is written: as it is, rounded as it was said, or a little beyond what
    it is said to be more than.

    Args:
        known: figures that need not be written, as the question has them.
    """
    theirs = numbers_of(written)
    return all(
        f"{value:g}" in known
        or value in theirs
        or any(round(other, decimals) == value for other in theirs)
        or (more and any(value <= other <= _ABOUT * value for other in theirs))
        for value, decimals, more in _figures(said)
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
    written with another one of the kind, or a share with a number where that is written with another share.
    """
    ours, theirs = parts_of(said), parts_of(written)
    return _is_anothers_share(said, written) or any(
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


def overstated(said: str, written: str) -> bool:
    """Whether "most" is said where no share that is written is a half."""
    shares = [float(share) for share in _PERCENT.findall(written)]
    return bool(
        shares and max(shares) < _HALF and _MOST.search(said) is not None and _MOST.search(written) is None
    )


def outweighed(said: str, written: str) -> bool:
    """Whether a comparison without figures has those of the source against it.

    "Rarer with A than with B" where the source gives A the larger share: "17.0% with A and 15.4% with B".
    """
    theirs = tuple((share, content_stems(part)) for share, part in _shares(written))
    for sentence in sentences(said):
        words = sentence.words
        if "than" not in words or any(word[0].isdigit() for word in words):
            continue
        than = words.index("than")
        rises = [place for place in range(than) if stem(words[place]) in RISE]
        falls = [place for place in range(than) if stem(words[place]) in FALL]
        if bool(rises) == bool(falls) or not _DENIES.isdisjoint(words[:than]):
            continue
        one, other = content_stems(" ".join(words[:than])), content_stems(" ".join(words[than:]))
        mine, rival = _share_of(one - other, theirs), _share_of(other - one, theirs)
        if mine is not None and rival is not None and ((mine < rival) if rises else (mine > rival)):
            return True
    return False


def _shares(text: str) -> Iterator[tuple[float, str]]:
    """The percentages of a text that stand in parts of their own, with their parts."""
    for part in _PARTS.split(text):
        found = _PERCENT.findall(part)
        if len(found) == 1:
            yield float(found[0]), part


def _share_of(stems: frozenset[str], shares: tuple[tuple[float, frozenset[str]], ...]) -> float | None:
    """The percentage beside which most of the stems stand; None where no part has more than the others."""
    ranked = sorted(((len(stems & beside), value) for value, beside in shares), reverse=True)
    if not ranked or ranked[0][0] == 0 or (len(ranked) > 1 and ranked[1][0] == ranked[0][0]):
        return None
    return ranked[0][1]


def _is_anothers_share(said: str, written: str) -> bool:
    """Whether a percentage stands with another number of the source than it is written with, and that number
    with another percentage: "61.3% within six hours" for "97.2% at 0-6 hours, 61.3% at 13-18 hours"."""
    theirs = tuple(_shares_beside(written))
    for share, beside in _shares_beside(said):
        own = {number for other, numbers in theirs if other == share for number in numbers}
        anothers = {number for other, numbers in theirs if other != share for number in numbers}
        if own and not beside & own and beside & anothers:
            return True
    return False


def _shares_beside(text: str) -> Iterator[tuple[float, frozenset[float]]]:
    """As `_shares`, with the other numbers of the parts."""
    return ((share, frozenset(numbers_of(part)) - {share}) for share, part in _shares(text))


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
