"""Conditions of a patient, written as data: `pregnant; egfr < 30; head trauma & fixed dilated pupil`.

Alternatives are separated by `;` and parts that must all hold by `&`. A part is a phrase, found as it
stands or in the plural where the text does not deny it, or a measure compared with a number, found
where the text gives the measure's value.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import Sentence, sentences, words_of

_COMPARISON = re.compile(r"(.+?)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)$")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_VALUE_WITHIN = 5
"""Words between a measure and its value: "eGFR is now down to 22"."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that must stand in the text, un-denied."""

    words: tuple[str, ...]

    def holds(self, sentence: Sentence, marks: Sequence[bool]) -> bool:
        """Whether the sentence says them of the patient: what runs in the family is not meant."""
        denies_itself = _denies(self.words)  # "no palpable pulse"
        return any(
            (denies_itself or not any(marks[start:end]))
            and "family" not in sentence.words[max(0, start - _FAMILY) : start]
            for start, end in occurrences(self.words, sentence.words)
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measure whose value must lie on one side of a number."""

    words: tuple[str, ...]
    sign: str
    bound: float

    def holds(self, sentence: Sentence, marks: Sequence[bool]) -> bool:
        """Whether the sentence gives such a value."""
        return any(_OPERATORS[self.sign](value, self.bound) for value in _values(self.words, sentence.words))


_FAMILY = 6
"""Words before a phrase among which "family" makes it a relative's."""
_A_YEAR = {"year": 1, "month": 12, "week": 52, "day": 365, "hour": 8760}

Part = Phrase | Comparison
Condition = tuple[tuple[Part, ...], ...]
"""Alternatives, each of parts that must all hold."""


def parsed(text: str) -> Condition:
    """The condition that a cell of a table writes down.

    Raises:
        ValueError: an alternative has no words.
    """
    return tuple(tuple(_part(part) for part in alternative.split("&")) for alternative in text.split(";"))


def _part(text: str) -> Part:
    compared = _COMPARISON.match(text.strip())
    words = words_of(compared[1] if compared else text)
    if not words or (compared is None and not {"<", ">"}.isdisjoint(text)):
        raise ValueError(f"a part without words: {text!r}")
    return Comparison(words, compared[2], float(compared[3])) if compared else Phrase(words)


def met(condition: Condition, text: str) -> bool:
    """Whether the text of a vignette meets the condition."""
    return any(all(_found(part, text) for part in alternative) for alternative in condition)


@lru_cache(maxsize=65536)
def _found(part: Part, text: str) -> bool:
    # Most parts have a word that the text does not.
    if isinstance(part, Phrase) and not _words_in(text).issuperset(part.words[:-1]):
        return False
    return any(part.holds(sentence, denied(sentence)) for sentence in sentences(text))


@lru_cache(maxsize=1024)
def _words_in(text: str) -> frozenset[str]:
    return frozenset(word for sentence in sentences(text) for word in sentence.words)


def occurrences(phrase: tuple[str, ...], words: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the words of a phrase stand in a row, its last one perhaps in the plural."""
    *first, last = phrase
    before = len(first)
    found: list[tuple[int, int]] = []
    for form in (last, f"{last}s", f"{last}es"):
        place = -1
        for _ in range(words.count(form)):
            place = words.index(form, place + 1)
            if place >= before and words[place - before : place] == phrase[:-1]:
                found.append((place - before, place + 1))
    return found


@lru_cache(maxsize=4096)
def _denies(phrase: tuple[str, ...]) -> bool:
    return any(any(denied(sentence)) for sentence in sentences(" ".join(phrase)))


def _values(measure: tuple[str, ...], words: tuple[str, ...]) -> list[float]:
    """Values of the measure: ages as vignettes give them, else the first number after its name."""
    if measure == ("age",):
        return [
            _number(words[place - 1]) / _A_YEAR[unit.rstrip("s")]
            for place, unit in enumerate(words)
            if place > 0 and unit.rstrip("s") in _A_YEAR and words[place - 1][0].isdigit()
            if words[place + 1 : place + 2] in (("old",), ("of",))
        ]
    if measure == ("gestational", "age"):
        return [
            _number(words[place - 1])
            for place, unit in enumerate(words)
            if place > 0 and unit.startswith("week") and words[place - 1][0].isdigit()
            if any(word.startswith(("gestation", "pregnan")) for word in words[place + 1 : place + 4])
        ]
    if measure == ("systolic", "blood", "pressure"):
        measure = ("blood", "pressure")  # "82/48": the first number is the systolic one
    found: list[float] = []
    for _, end in occurrences(measure, words):
        numbers = [word for word in words[end : end + _VALUE_WITHIN] if word[0].isdigit()]
        found += [_number(word) for word in numbers[:1]]
    return found


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:  # "1.2.3"
        return float("nan")
