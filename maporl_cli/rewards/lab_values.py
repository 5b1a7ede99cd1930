"""Laboratory values said the wrong way round: "a phosphate of 2.3 is high".

`data/normal_ranges.tsv` has the range of a measure in its units, with a source on every row. A value is
misread where a sentence calls it high and it lies below the range, or low and it lies above: what is
borderline is left to those who read it. The unit is the one that the vignette gives the value in.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from maporl_cli.rewards.conditions import occurrences
from maporl_cli.rewards.measures import is_of_another_kind, number
from maporl_cli.rewards.sentences import Sentence, sentences, words_of

_HIGH = frozenset("high raised elevated increased above".split())
_LOW = frozenset("low reduced decreased suppressed below depressed".split())
_VALUE_WITHIN = 4
"""Words between a measure and its value: "parathyroid hormone was found at 92"."""
_CALLED_WITHIN = 4
"""Words behind a value, or before its measure, within which it is called high or low."""
_NOT = frozenset("not no never neither nor than".split())


@dataclass(frozen=True, slots=True)
class Range:
    """A row of `normal_ranges.tsv`; of no units where the measure has none."""

    names: tuple[tuple[str, ...], ...]
    units: tuple[tuple[str, ...], ...]
    low: float
    high: float


@cache
def normal_ranges() -> tuple[Range, ...]:
    """The whole table."""
    with (files("maporl_cli.rewards") / "data" / "normal_ranges.tsv").open(encoding="utf-8") as file:
        return tuple(
            Range(_phrases(row["measure"]), _phrases(row["units"]), float(row["low"]), float(row["high"]))
            for row in csv.DictReader(file, delimiter="\t")
        )


def _phrases(cell: str) -> tuple[tuple[str, ...], ...]:
    return tuple(words for part in cell.split(";") if (words := words_of(part)))


def misreads(sentence: Sentence, vignette: str) -> bool:
    """Whether the sentence calls a value of the vignette high that is low, or low that is high."""
    if (_HIGH | _LOW).isdisjoint(sentence.words):
        return False
    return any(
        _is_called(sentence, start, place, _HIGH if value < measure.low else _LOW)
        for measure in normal_ranges()
        for start, place, value in _values(measure, sentence)
        if not measure.low <= value <= measure.high and _is_given(value, measure, vignette)
    )


def _values(measure: Range, sentence: Sentence) -> Iterator[tuple[int, int, float]]:
    """Where the measure is named, where its value stands, and the value."""
    words = sentence.words
    for name in measure.names:
        for start, end in occurrences(name, words):
            if is_of_another_kind(words, start):
                continue
            near = range(end, min(len(words), end + _VALUE_WITHIN))
            place = next((place for place in near if words[place][0].isdigit()), None)
            if place is not None:
                yield start, place, number(words[place])


def _is_called(sentence: Sentence, start: int, place: int, names: frozenset[str]) -> bool:
    """Whether one of the names stands behind the value or before the measure, without a "not"."""
    words = sentence.words
    behind = words[place + 1 : place + 1 + _CALLED_WITHIN]
    before = words[max(0, start - 2) : start]
    return any(
        word in names and _NOT.isdisjoint(around[:index])
        for around in (before, behind)
        for index, word in enumerate(around)
    )


def _is_given(value: float, measure: Range, vignette: str) -> bool:
    """Whether the vignette gives the value, in the units of the range."""
    return any(
        word[0].isdigit()
        and number(word) == value
        and (not measure.units or any(_follows(unit, sentence.words, place) for unit in measure.units))
        for sentence in sentences(vignette)
        for place, word in enumerate(sentence.words)
    )


def _follows(unit: tuple[str, ...], words: tuple[str, ...], place: int) -> bool:
    return words[place + 1 : place + 1 + len(unit)] == unit
