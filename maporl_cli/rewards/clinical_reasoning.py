"""Clinical reasoning: a differential tied to the findings of this case, which argues for the answer.

`Z · (.35·findings used + .25·min(1, candidates ÷ 3) + .4·candidates linked to a finding)`. Findings
are the concepts and the measured values of the vignette; candidates are options and diseases that a
statement weighs; one is linked where that statement, or one beside it, also names a finding. `Z` is 1
only where the report speaks for the submitted answer, else 0. Half is left of a differential that denies the
right diagnosis, or ends in a wrong option without weighing the right one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.dangers import vignette_of
from maporl_cli.rewards.lab_values import misreads
from maporl_cli.rewards.reference import denies_diagnosis, reference_concepts
from maporl_cli.rewards.sentences import FUNCTION_WORDS, Sentence, sentences
from maporl_cli.rewards.stances import DECIDED, all_named, argued, asks_for_verdict, speaks_of, told_of
from maporl_cli.rewards.statements import (
    Statement,
    missing,
    named,
    own_statements,
    statements,
    substance,
)
from maporl_cli.rewards.stems import content_stems, stem

_USED, _WEIGHED, _LINKED = 0.35, 0.25, 0.4
_FINDINGS, _CANDIDATES = 4, 3
"""Findings, and candidates, that make a full share."""


_TOLD = 0.5
"""Share of an option's own words in the report that tells of it."""
_ASTRAY = 0.5
"""What is left where the turns argue against the reference's diagnosis, or never weigh the right option."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a vignette gives to reason from: concepts, those that it denies, numbers, and other things it
    calls by two words ("anal tone")."""

    concepts: frozenset[Concept]
    absent: frozenset[Concept]
    words: frozenset[str]
    phrases: frozenset[str]


def clinical_reasoning(episode: Episode) -> Measure | None:
    """How the turns reason from the case to the answer; None where there is no turn."""
    if not episode.turns:
        return None
    question = episode.question
    stated = [own_statements(episode, index) for index in range(len(episode.turns))]
    if not argues_for_answer(episode, stated[-1]):
        return Measure(0.0, "the reasoning does not argue for the submitted answer")
    case, vignette = _case(question), vignette_of(question)
    used: set[str | Concept] = set()
    weighed: dict[str | Concept, bool] = {}
    spoken: set[str] = set()
    for turn in stated:
        for place, statement in enumerate(turn):
            new = substance(question, statement, concepts=True) - spoken
            spoken |= new
            if not new or misreads(statement.sentence, vignette):
                continue
            near = turn[max(0, place - 1) : place + 2]
            here = _findings(case, statement)
            used |= here
            beside = bool(here) or any(_findings(case, other) for other in near)
            # Each needs a word of its own: "X fits A, and Y fits B" weighs neither.
            told = sorted(_candidates(question, case, statement), key=str)[: len(new)]
            for candidate in told:
                weighed[candidate] = weighed.get(candidate, False) or beside
    linked = sum(weighed.values())
    value = (
        _USED * min(1.0, len(used) / _FINDINGS)
        + _WEIGHED * min(1.0, len(weighed) / _CANDIDATES)
        + _LINKED * min(1.0, linked / _CANDIDATES)
    )
    missed = _misses_gold(episode, weighed)
    if missed or denies_diagnosis(question, [statement for turn in stated for statement in turn]):
        value *= _ASTRAY
    return Measure(value, "" if value else "no finding of the case and no candidate is weighed")


def _misses_gold(episode: Episode, weighed: Collection[str | Concept]) -> bool:
    """Whether a wrong option is chosen without the right one being weighed."""
    question = episode.question
    if not (question.options and question.has_gold) or asks_for_verdict(question):
        return False
    return episode.answer != question.answer and question.answer not in weighed


def argues_for_answer(episode: Episode, stated: tuple[Statement, ...]) -> bool:
    """Whether what is said for the submitted answer outweighs what is said for any other option."""
    question, answer = episode.question, episode.answer
    if answer is None:
        return False
    if not question.options:
        return True
    report = argued(question, episode.turns[-1].text)
    rival = max((value for letter, value in report.items() if letter != answer), default=0)
    if report[answer] < 0 or rival >= max(DECIDED, report[answer] + 1):
        return False
    if report[answer] > 0:
        return True
    # An option that is a whole procedure is told of in several sentences, and named in none; so may others be
    # that it is set against, but of those the report speaks ill.
    told = {letter: told_of(question, letter, stated) for letter in question.options if report[letter] >= 0}
    return told[answer] >= _TOLD and told[answer] == max(told.values())


def _case(question: Question) -> Case:
    vignette = vignette_of(question)
    options = content_stems(" ".join(question.options.values()))
    values = frozenset(word for word in content_stems(vignette) if word[0].isdigit())
    absent = frozenset(concept for statement in statements(vignette) for concept in missing(statement))
    phrases = frozenset(pair for sentence in sentences(vignette)[:-1] for pair in _phrases(sentence))
    return Case(named(vignette) - all_named(question.options.values()), absent, values - options, phrases)


def _phrases(sentence: Sentence) -> set[str]:
    """Pairs of neighboring words that name something and belong to no concept."""
    words = sentence.words
    known = {place for mention in mentions(words) for place in range(mention.start, mention.end)}
    kept = [
        "" if place in known or word in FUNCTION_WORDS or not word.isalpha() else stem(word)
        for place, word in enumerate(words)
    ]
    return {f"{one} {other}" for one, other in pairwise(kept) if one and other}


def _findings(case: Case, statement: Statement) -> set[str | Concept]:
    """Of the vignette's, what the statement speaks of as the vignette does: what is there is not denied."""
    concepts = statement.concepts & case.concepts
    wrong = {concept for concept in concepts & missing(statement) if concept not in case.absent}
    values = content_stems(statement.sentence.text) & case.words
    return {*(concepts - wrong), *values, *(_phrases(statement.sentence) & case.phrases)}


def _candidates(question: Question, case: Case, statement: Statement) -> set[str | Concept]:
    """Options that the statement speaks of, and diseases that are not given in the vignette.

    Of a yes-or-no question it is reasons that are weighed: statements on what is asked about.
    """
    options = {letter for letter in question.options if speaks_of(question, letter, statement)}
    if asks_for_verdict(question):
        return {statement.sentence.text} if options or _findings(case, statement) else set()
    known = all_named(question.options.values()) | reference_concepts(question)
    diseases = {
        concept
        for concept in statement.concepts
        if concept.kind == "disease"
        and concept not in case.concepts
        and concept not in all_named(question.options.values())
    }
    linked = {concept for concept in diseases if concept in known or _findings(case, statement)}
    return {*options, *linked}


register_component("clinical_reasoning", clinical_reasoning)
