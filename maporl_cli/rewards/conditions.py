"""Conditions of a patient, written as data: `pregnant; egfr < 30; head trauma & fixed dilated pupil`.

Alternatives are separated by `;` and parts that must all hold by `&`. A part is a phrase, found as it
stands or in the plural where the text says it of the patient, or a measure compared with a number: its
current value, where the text gives several.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from maporl_cli.rewards.measures import value_of
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.relatives import is_of_a_relative
from maporl_cli.rewards.sentences import Sentence, sentences, words_of

_COMPARISON = re.compile(r"(.+?)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)$")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_PREVENTING = frozenset("prevent prevents preventing against".split())
_FEARING = frozenset(
    {("prevention", "of"), ("worried", "about"), ("concerned", "about"), ("fear", "of"), ("afraid", "of")}
    | {("risk", "of"), ("screening", "for"), ("screened", "for"), ("tested", "for")}
)
"""A little before a phrase, these make it what somebody guards against, fears or looks for."""
_FEARED_WITHIN = 4
_TESTS = frozenset("test tests screen screening vaccine vaccination prophylaxis".split())
"""Behind a phrase, these look for it or guard against it; only a positive one has found it."""
_POSITIVE_WITHIN = 5
_NEVER = frozenset("non never former ex pre".split())
"""Right before a phrase: "a non-smoker"."""
_FORMER = frozenset("previous prior last earlier former".split())
_PASSING = frozenset({("pregnancy",), ("pregnant",)})
"""What a previous one leaves no trace of; a previous infarction does."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that must stand in the text, un-denied."""

    words: tuple[str, ...]

    def holds(self, told: tuple[Sentence, ...]) -> bool:
        """Whether a sentence says them of the patient as he is."""
        denies_itself = _denies(self.words)  # "no palpable pulse"
        return any(
            (denies_itself or not any(denied(sentence)[start:end])) and self._is_real(sentence, start, end)
            for sentence in told
            for start, end in occurrences(self.words, sentence.words)
        )

    def _is_real(self, sentence: Sentence, start: int, end: int) -> bool:
        words = sentence.words
        if is_of_a_relative(sentence, start, end):
            return self.words[0] == "family"  # "family history of malignant hyperthermia"
        near = words[max(0, start - _FEARED_WITHIN) : start]
        if not _PREVENTING.isdisjoint(near[1:]) or not _FEARING.isdisjoint(pairwise(near)):
            return False
        if near[-1:] and near[-1] in _NEVER:
            return False
        if self.words in _PASSING and not _FORMER.isdisjoint(words[max(0, start - 1) : start]):
            return False
        if words[end : end + 1] and words[end] in _TESTS:
            return "positive" in words[max(0, start - 2) : end + _POSITIVE_WITHIN]
        return True


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measure whose value must lie on one side of a number."""

    words: tuple[str, ...]
    sign: str
    bound: float

    def holds(self, told: tuple[Sentence, ...]) -> bool:
        """Whether the value that the sentences give last lies there."""
        value = value_of(self.words, told)
        return value is not None and _OPERATORS[self.sign](value, self.bound)


_OTHERWISE_GIVEN = frozenset({("age",), ("gestational", "age"), ("systolic", "blood", "pressure")})
"""Measures that a text gives without their names: "a 70-year-old", "at 13 weeks' gestation", "82/48"."""

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
    if part.words not in _OTHERWISE_GIVEN and not _words_in(text).issuperset(part.words):
        return False
    return part.holds(sentences(text))


@lru_cache(maxsize=1024)
def _words_in(text: str) -> frozenset[str]:
    """The words of a text, and what each might be the plural of."""
    words = frozenset(word for sentence in sentences(text) for word in sentence.words)
    return words | {word.removesuffix(end) for word in words for end in ("s", "es")}


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
