"""What would harm this patient, and what cannot wait: two tables, a citation on every row.

`data/contraindications.tsv` says which act is contraindicated when; `data/red_flags.tsv` which
findings are an emergency and what answers it. A row counts fully, so it must be true; what they do not
list, this cannot see.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from itertools import zip_longest

from maporl_cli.core.types import Question
from maporl_cli.rewards.advice import advises
from maporl_cli.rewards.conditions import Condition, met, occurrences, parsed
from maporl_cli.rewards.drug_classes import with_members
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import READ, Sentence, last_sentence, sentences, words_of

Phrases = tuple[tuple[str, ...], ...]

_EARLIER = frozenset("first then after once follow follows followed later before next established".split())
"""Words that put one act before another."""
_ASIDE = re.compile(
    r",?\s*\b(?:if|unless|assuming|provided|given|since|because|barring|so that|in the absence of"
    r"|to (?:avoid|prevent|reduce|lower|minimi[sz]e|limit|stop))\b[^,;?]*",
    re.IGNORECASE,
)
"""What a question adds to what it asks for: "if not contraindicated", "to avoid a stroke"."""
_HARM_ASKED = re.compile(
    r"\bNOT\b|(?i:(?<!not )\bcontraindicated"
    r"|\b(?:should|must|needs? to|has to|ought to) (?:she |he |they |be |\w+ be )?"
    r"(?:avoid|stop|discontinue|withh[eo]ld)"
    r"|\b(?:be|is|are) (?:\w+ )?(?:avoided|discontinued|stopped|withheld)"
    r"|\bresponsible\b|\b(?:likely|probable|probably) (?:\w+ )?cause[sd]?\b|\b(?:account|explain)s?\b"
    r"|\bexcept\b|\bleast (?:appropriate|likely|suitable|useful|indicated)"
    r"|\b(?:should|must|is|are)(?: not|n't) (?:be )?(?:an? )?(?:\w+ )?"
    r"(?:used|given|appropriate|recommended|indicated|advisable|suitable)"
    r"|\b(?:most|be|is|are|more) (?:\w+ )?(?:harmful|dangerous|toxic|teratogenic|unsafe|hazardous)"
    r"|\b(?:increase|raise)s? (?:the |her |his )?risk"
    r"|\b(?:mechanism of|has|cause[sd]?|known for) (?:this|the|these|her|his) (?:adverse|side|toxic)"
    r"|\b(?:which|what) (?:\w+ ){0,4}(?:adverse|side effects?|toxicity|complications?)"
    r"(?= (?:of|is|are|may|can|should)))"
)
"""What asks for a danger: naming it is no advice."""


@dataclass(frozen=True, slots=True)
class Contraindication:
    """A row of `contraindications.tsv`.

    Attributes:
        act: its first name, or the one by which a text recommends it.
        names: all of them, with the members of the classes that it names.
        after: what makes the act safe where it comes first.
    """

    act: str
    names: Phrases
    when: Condition
    why: str
    source: str
    after: Phrases = ()


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
    return tuple(dict.fromkeys(words_of(part) for part in with_members(cell)))


@cache
def contraindications() -> tuple[Contraindication, ...]:
    """The whole table."""
    return tuple(
        Contraindication(
            with_members(row["act"])[0],
            _phrases(row["act"]),
            parsed(row["when"]),
            row["why"],
            row["source"],
            _phrases(row["after"]),
        )
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


def known_of(question: Question) -> str:
    """What is told of the patient, and what the reference begins with, the diagnosis."""
    gold = question.options.get(question.answer, question.answer)
    diagnosis = sentences(question.rationale)[:1]  # what follows may be about other patients
    return "\n".join([vignette_of(question), gold, *(sentence.text for sentence in diagnosis)])


def harmful_advice(question: Question, report: str, answer: str | None) -> Contraindication | None:
    """The contraindicated act that the report recommends or its answer is; None where there is none.

    An act of the gold answer is no harm: there the table does not know the patient well enough. Where
    the question asks for a danger, to name one is to answer.
    """
    gold = question.options.get(question.answer, question.answer)
    rows = [row for row in forbidden_to(known_of(question)) if not _affirms(row, gold)]
    if not rows:
        return None
    asks_for_harm = _HARM_ASKED.search(_ASIDE.sub("", last_sentence(question.text))) is not None
    chosen = question.options.get(answer or "", "")
    for row in rows:
        if not asks_for_harm and _affirms(row, chosen):
            return row
        # Of a report too long to be read whole, both ends: the answer stands at the last.
        for text in (report, report[-READ:]):
            if act := _recommended(text, row):
                return replace(row, act=act)
    return None


def _affirms(row: Contraindication, text: str) -> bool:
    return any(
        not any(denied(sentence)[start:end])
        for sentence in sentences(text)
        for name in row.names
        for start, end in occurrences(name, sentence.words)
    )


def _recommended(text: str, row: Contraindication) -> str:
    """What the row forbids and the text recommends, by the name it has there; nothing where there is none."""
    told = sentences(text)
    return next(
        (
            " ".join(name)
            for sentence, following in zip_longest(told, told[1:])
            for name in row.names
            for start, end in occurrences(name, sentence.words)
            if advises(sentence, start, end, following) and not _comes_after(row, sentence, start)
        ),
        "",
    )


def _comes_after(row: Contraindication, sentence: Sentence, start: int) -> bool:
    """Whether the sentence puts first what makes the act safe: "phenoxybenzamine, then propranolol"."""
    words, marks = sentence.words, denied(sentence)
    return any(
        not any(marks[first:last])
        and words[first - 1 : first] != ("before",)
        and (first < start or "after" in words[start:first])
        for phrase in row.after
        for first, last in occurrences(phrase, words)
        if not _EARLIER.isdisjoint(words)
    )
