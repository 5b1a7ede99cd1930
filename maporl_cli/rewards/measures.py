"""The value of a measure that a vignette gives; of several the current one.

"fell from 55 to 22" is 22, "was 6.1 and is now 4.2" is 4.2; what was "a year ago" counts only where
nothing later is told.
"""

from __future__ import annotations

from maporl_cli.rewards.relatives import is_of_a_relative
from maporl_cli.rewards.sentences import Sentence

_VALUE_WITHIN = 5
"""Words between a measure and its value: "eGFR is now down to 22"."""
_A_YEAR = {"year": 1, "month": 12, "week": 52, "day": 365, "hour": 8760}
_UNITS = frozenset("meq mmol mol mg g mcg dl l ml min m mm hg per u iu % h hour hours beats a minute".split())
_BRIDGE = _UNITS | frozenset(
    "to and is now was had has have risen rose fallen fell it then later but down up currently "
    "today this morning last year month week day days weeks months years ago yesterday on "
    "admission earlier the".split()
)
"""Between an earlier value and a later one stands nothing else."""
_CURRENT = frozenset("to now is today currently then later".split())
"""Right before a number, these make it later than the one before it."""
_FORMER = frozenset("ago previously earlier formerly baseline last prior yesterday".split())
_FORMER_WITHIN = 5
_NO_MEASURE = frozenset("chloride iodide citrate phosphate supplement supplements bicarbonate binder".split())
"""Behind the name of an electrolyte: a salt that is taken, and no measure."""

_OF_ANOTHER_KIND = frozenset("urine urinary ionized ionised sweat stool csf pleural ascitic".split())


def value_of(measure: tuple[str, ...], told: tuple[Sentence, ...]) -> float | None:
    """The current value of a measure in the sentences of a vignette; None where they give none."""
    if measure == ("age",):
        return next((age for sentence in told for age in _ages(sentence)), None)
    if measure == ("gestational", "age"):
        found = [value for sentence in told for value in _weeks(sentence.words)]
        return found[-1] if found else None
    if measure == ("systolic", "blood", "pressure"):
        measure = ("blood", "pressure")  # "82/48": the first number is the systolic one
    given = [pair for sentence in told for pair in _given(measure, sentence.words)]
    current = [value for value, former in given if not former] or [value for value, _ in given]
    return current[-1] if current else None


def _ages(sentence: Sentence) -> list[float]:
    """The ages of the patient: the first is meant, later ones may be those of the past."""
    words = sentence.words
    found = [
        (place, number(words[place - 1]) / _A_YEAR[unit.rstrip("s")])
        for place, unit in enumerate(words)
        if place > 0 and unit.rstrip("s") in _A_YEAR and words[place - 1][0].isdigit()
        if words[place + 1 : place + 2] in (("old",), ("of",))
    ]
    brought = words.index("brings") if "brings" in words else -1
    if brought >= 0:  # "a mother, 32 years old, brings her 3-year-old son"
        return [age for place, age in found if place > brought] or [age for _, age in found]
    return [age for place, age in found if not is_of_a_relative(sentence, place, place + 2)]


def _weeks(words: tuple[str, ...]) -> list[float]:
    return [
        number(words[place - 1])
        for place, unit in enumerate(words)
        if place > 0 and unit.startswith("week") and words[place - 1][0].isdigit()
        if any(word.startswith(("gestation", "pregnan")) for word in words[place + 1 : place + 4])
    ]


def _given(measure: tuple[str, ...], words: tuple[str, ...]) -> list[tuple[float, bool]]:
    """Values of the measure, and whether each is told as a former one."""
    found: list[tuple[float, bool]] = []
    for start in range(len(words) - len(measure)):
        end = start + len(measure)
        named = _names(measure, words[start:end]) and not is_of_another_kind(words, start)
        if not named or words[end] in _NO_MEASURE:
            continue
        first = next(
            (n for n in range(end, min(len(words), end + _VALUE_WITHIN)) if words[n][0].isdigit()), None
        )
        if first is not None:
            last = _last_in_a_row(words, first)
            around = (
                *words[max(0, start - _FORMER_WITHIN) : start],
                *words[last + 1 : last + _FORMER_WITHIN],
            )
            found.append((number(words[last]), not _FORMER.isdisjoint(around)))
    return found


def _names(measure: tuple[str, ...], words: tuple[str, ...]) -> bool:
    return words[:-1] == measure[:-1] and words[-1] in (measure[-1], f"{measure[-1]}s", f"{measure[-1]}es")


def _last_in_a_row(words: tuple[str, ...], first: int) -> int:
    """Where the last of the values stands that begin at `first`: "from 55 to 22"."""
    last = first
    for place in range(first + 1, len(words)):
        before = words[place - 1]
        if words[place][0].isdigit():
            if before in _CURRENT:
                last = place
            elif not (before[0].isdigit() or before in ("min", "m", "per")):  # "140/90", "mL/min/1.73 m2"
                break
        elif words[place] not in _BRIDGE:
            break
    return last


def is_of_another_kind(words: tuple[str, ...], start: int) -> bool:
    """Whether the word before makes the measure another one, with other values: "urine sodium"."""
    return start > 0 and words[start - 1] in _OF_ANOTHER_KIND


def number(word: str) -> float:
    """The number that a word writes; not a number where it writes none, as "1.2.3"."""
    try:
        return float(word)
    except ValueError:
        return float("nan")
