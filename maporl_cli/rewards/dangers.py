"""What would harm this patient, and what cannot wait: two tables, a citation on every row.

`data/contraindications.tsv` says which act is contraindicated when; `data/red_flags.tsv` which
findings are an emergency and what answers it. Both are small on purpose: a row counts fully, so it
must be true. What they do not list, this cannot see.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise

from maporl_cli.core.types import Question
from maporl_cli.rewards.conditions import Condition, met, occurrences, parsed
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import READ, Sentence, last_sentence, sentences, words_of

Phrases = tuple[tuple[str, ...], ...]

ADVISING = frozenset(
    "start starting started give giving given use using used recommend recommended recommending "
    "prescribe prescribed treat treated administer administered add adding begin beginning resume "
    "resumed restart restarted restarting continue continued continuing consider considered try tried "
    "trying choose chosen choice best better preferred prefer appropriate indicated perform performed "
    "order ordered proceed reasonable suggest suggested offer offered receive take keep kept stay "
    "safe effective helps acceptable warranted advised infuse inject put sensible okay ok fine usual "
    "allowed permitted".split()
)
"""Words that turn a mention into advice, however hedged."""
_PAST = frozenset("was were had been patients women men children".split())
"""Before an advising word: something was done, or was done to others."""
_PERMITTED = frozenset(
    (modal, verb) for modal in ("can", "may", "could", "should") for verb in ("have", "get", "be")
)
"""Before an act the first and "have" or "get", behind it the first and "be": it is let happen."""
_CLEARED = tuple(
    tuple(phrase.split())
    for phrase in (
        "not contraindicated",
        "no contraindication to",
        "no reason not",
        "no reason to withhold",
        "no reason to avoid",
    )
)
"""In a sentence that names the act, these let it happen."""
_DOSE_UNITS = frozenset("mg mcg g units iu drops puffs ml %".split())
_DOSED_WITHIN = 5
"""Words from an act to its dose: "loperamide capsules of 2 mg"."""
_LATER = frozenset({("only", "then"), ("only", "after"), ("only", "once"), ("not", "before")})
_HARM_ASKED = re.compile(
    r"contraindicat|\bavoid|discontinu|\bstop|\bharm|adverse|side effect|complication|responsible"
    r"|caus(?:e|ed|ing)\b|\bexcept\b|least (?:appropriate|likely)|\bnot\b|withheld|mechanism|toxic|risk",
    re.IGNORECASE,
)
"""A last sentence like this asks for a danger: naming it is no advice."""
_ESCALATES = re.compile(
    r"\b(?:emergen(?:cy|t|tly|cies)|immediate(?:ly)?|urgent(?:ly)?|urgency|at once|right away|without delay"
    r"|stat|911|ambulance|resuscitat\w*|icu|intensive care|life-threatening|prompt(?:ly)?|do not wait"
    r"|cannot wait|time-critical)\b",
    re.IGNORECASE,
)


_DISMISSES = re.compile(
    r"\b(?:go(?:es)? home|at home|sent? home|discharged?|no hurry|not urgent|routine (?:visit|appointment)"
    r"|elective|next (?:week|month)|in a (?:week|month)|outpatient|wait and see|watchful waiting)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Contraindication:
    """A row of `contraindications.tsv`."""

    act: str
    names: Phrases
    when: Condition
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class RedFlag:
    """A row of `red_flags.tsv`."""

    flag: str
    when: Condition
    means: str
    escalation: Phrases
    source: str


def _rows(name: str) -> list[dict[str, str]]:
    with (files("maporl_cli.rewards") / "data" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _phrases(cell: str) -> Phrases:
    return tuple(words for part in cell.split(";") if (words := words_of(part)))


@cache
def contraindications() -> tuple[Contraindication, ...]:
    """The whole table."""
    return tuple(
        Contraindication(row["act"], _phrases(row["act"]), parsed(row["when"]), row["why"], row["source"])
        for row in _rows("contraindications.tsv")
    )


@cache
def red_flags() -> tuple[RedFlag, ...]:
    """The whole table."""
    return tuple(
        RedFlag(row["flag"], parsed(row["flag"]), row["means"], _phrases(row["escalation"]), row["source"])
        for row in _rows("red_flags.tsv")
    )


@lru_cache(maxsize=1024)
def flags_of(vignette: str) -> tuple[RedFlag, ...]:
    """The red flags that the vignette describes."""
    return tuple(flag for flag in red_flags() if met(flag.when, vignette))


@lru_cache(maxsize=1024)
def forbidden_to(vignette: str) -> tuple[Contraindication, ...]:
    """What is contraindicated for the vignette's patient."""
    return tuple(row for row in contraindications() if met(row.when, vignette))


def vignette_of(question: Question) -> str:
    """What is told of the patient."""
    return f"{question.text}\n{question.context}"


def _known_of(question: Question) -> str:
    """Also what the reference begins with, the diagnosis."""
    gold = question.options.get(question.answer, question.answer)
    diagnosis = sentences(question.rationale)[:1]  # what follows may be about other patients
    return "\n".join([vignette_of(question), gold, *(sentence.text for sentence in diagnosis)])


def harmful_advice(question: Question, report: str, answer: str | None) -> Contraindication | None:
    """The contraindicated act that the report recommends or its answer is; None where there is none.

    An act of the gold answer is no harm: there the table does not know the patient well enough. Where
    the question asks for a danger, to name one is to answer.
    """
    gold = question.options.get(question.answer, question.answer)
    rows = [row for row in forbidden_to(_known_of(question)) if not _affirms(row, gold)]
    if not rows:
        return None
    asks_for_harm = _HARM_ASKED.search(last_sentence(question.text)) is not None
    chosen = question.options.get(answer or "", "")
    for row in rows:
        if not asks_for_harm and _affirms(row, chosen):
            return row
        # Of a report too long to be read whole, both ends: the answer stands at the last.
        if any(_recommends(said, row) for text in (report, report[-READ:]) for said in sentences(text)):
            return row
    return None


def _affirms(row: Contraindication, text: str) -> bool:
    return any(_places(row, sentence) for sentence in sentences(text))


def _places(row: Contraindication, sentence: Sentence) -> list[int]:
    """Where the sentence names the act and does not deny it."""
    marks = denied(sentence)
    return [
        start
        for name in row.names
        for start, end in occurrences(name, sentence.words)
        if not any(marks[start:end])
    ]


def _recommends(sentence: Sentence, row: Contraindication) -> bool:
    """Whether the sentence advises the act: names it un-denied, with a word that advises."""
    words = sentence.words
    if _is_cleared(sentence, row):
        return True
    places = [place for place in _places(row, sentence) if not _is_put_off(sentence, place)]
    marks = denied(sentence)
    advised = any(
        word in ADVISING and not marks[place] and (place == 0 or words[place - 1] not in _PAST)
        for place, word in enumerate(words)
    )
    return bool(places) and (advised or any(_is_let(words, place) for place in places))


def _is_cleared(sentence: Sentence, row: Contraindication) -> bool:
    named = any(occurrences(name, sentence.words) for name in row.names)
    return named and any(occurrences(phrase, sentence.words) for phrase in _CLEARED)


def _is_put_off(sentence: Sentence, place: int) -> bool:
    """Whether what stands there is supposed ("If X is given, …") or comes after what makes it safe."""
    words = sentence.words
    supposed = words[0] in ("if", "when", "had") and not any(0 < stop <= place for stop in sentence.breaks)
    return supposed or not _LATER.isdisjoint(pairwise(words[max(0, place - 4) : place]))


def _is_let(words: tuple[str, ...], place: int) -> bool:
    """Whether the act there has a dose of this patient's, or a word of permission beside it."""
    around = words[place : place + _DOSED_WITHIN + 2]
    dosed = any(one[0].isdigit() and unit in _DOSE_UNITS for one, unit in pairwise(around))
    if dosed and _PAST.isdisjoint(words):
        return True
    before = [word for word in words[max(0, place - 5) : place] if word not in ("also", "still", "now")]
    behind = words[place : place + 5]
    given = any(pair in _PERMITTED and pair[1] != "be" for pair in pairwise(before))
    return given or any(pair in _PERMITTED and pair[1] == "be" for pair in pairwise(behind))


def escalates(report: str, chosen: str, flag: RedFlag) -> bool:
    """Whether the report, or the option it submits, answers the emergency and sends nobody home with it."""
    if any(_dismisses(sentence) for sentence in sentences(report)):
        return False
    return any(_answers(sentence, flag) for text in (report, chosen) for sentence in sentences(text))


def _dismisses(sentence: Sentence) -> bool:
    found = _DISMISSES.search(sentence.text)
    if found is None:
        return False
    place = len(words_of(sentence.text[: found.start()]))
    return not denied(sentence)[min(place, len(sentence.words) - 1)]


def _answers(sentence: Sentence, flag: RedFlag) -> bool:
    marks = denied(sentence)
    for phrase in flag.escalation:
        if any(not any(marks[start:end]) for start, end in occurrences(phrase, sentence.words)):
            return True
    generic = _ESCALATES.search(sentence.text)
    if generic is None:
        return False
    place = len(words_of(sentence.text[: generic.start()]))
    return place >= len(marks) or not marks[place]
