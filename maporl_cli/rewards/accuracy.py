"""Accuracy: the answer decides; how well its justification fits it decides the rest.

With options: 0 where the answer is wrong or cannot be read, or the report denies it; .4 where the
report argues for another option; else `.8 + .2·margin`, the similarity of the justification to the
gold option over the best wrong one, cut to [0, 1]. Without a `reward.similarity_model` a right answer
earns 1.

In words: over the affirmed sentences with a verb of the report,
`clip((cos(y, ref) − cos(q, ref)) ÷ (1 − cos(q, ref)))`: what it says beyond an echo of the question.
The reference's key concepts must be affirmed; where one is denied, it earns 0. Without a model the
words themselves must be the gold ones.

Without a gold answer it is what the report would earn if its answer were right, times the verifier's
probability that it is: a wrong answer earns 0, so that is the accuracy to be expected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from maporl_cli.agents.answers import is_correct
from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.component import Measure
from maporl_cli.rewards.sentences import sentences
from maporl_cli.rewards.similarity import Similarity
from maporl_cli.rewards.stances import DECIDED, argued, chance_right
from maporl_cli.rewards.statements import Statement, affirmed, named, statements

_LABELLED = re.compile(r"\banswer\s*+:\s*+([^.(\n]{1,80})", re.IGNORECASE)
_RIGHT, _JUSTIFIED, _AGAINST = 0.8, 0.2, 0.4


class Accuracy:
    """The component, around a sentence encoder where there is one."""

    def __init__(self, similarity: Similarity | None) -> None:
        self._similarity = similarity

    def prepare(self, episodes: Sequence[Episode]) -> None:
        """Embed all that the episodes need at once."""
        if self._similarity is not None:
            self._similarity.prepare([text for episode in episodes for text in self._texts(episode)])

    def __call__(self, episode: Episode) -> Measure:
        """How right the episode's answer is."""
        if not episode.turns or episode.answer is None:
            return Measure(0.0, "no single answer could be read from the report")
        assumed = _assumed_right(episode)
        found = self._choice(assumed) if episode.question.options else self._words(assumed)
        if episode.question.has_gold:
            return found
        chance = chance_right(episode)
        return Measure(chance * found.value, found.reason if chance else "the verifier gives it no chance")

    def _choice(self, episode: Episode) -> Measure:
        question, answer = episode.question, episode.answer
        if not is_correct(question, answer):
            return Measure(0.0, f"answered {answer!r}, the gold answer is {question.answer!r}")
        report = episode.turns[-1].text
        said = argued(question, report)
        if said[question.answer] <= -DECIDED:
            return Measure(0.0, "the report denies the option that it submits")
        rival = max((value for letter, value in said.items() if letter != question.answer), default=0)
        if said[question.answer] < 0:
            return Measure(_AGAINST, "the report speaks ill of the option that it submits")
        if said[question.answer] == 0 and rival >= DECIDED:  # to mention another is not to argue for it
            return Measure(_AGAINST, "the report argues for another option than it submits")
        if self._similarity is None:
            return Measure(1.0)
        justification = justification_of(report)
        if not justification:
            return Measure(_RIGHT)
        near = {letter: self._similarity.of(justification, text) for letter, text in question.options.items()}
        wrong = max(value for letter, value in near.items() if letter != question.answer)
        return Measure(_RIGHT + _JUSTIFIED * min(1.0, max(0.0, near[question.answer] - wrong)))

    def _words(self, episode: Episode) -> Measure:
        question, report = episode.question, episode.turns[-1].text
        if self._similarity is None:
            right = is_correct(question, episode.answer)
            return Measure(float(right), "" if right else "the answer is not the gold one, word for word")
        said = statements(report)
        given = given_in_words(question, report, episode.answer or "")
        if isinstance(given, str):
            return Measure(0.0, given)
        answer = _affirmed_text(said) or short(episode)
        echo = max(0.0, self._similarity.of(question.text, question.answer))
        near = self._similarity.of(answer, question.answer)
        near = max(near, self._similarity.of(short(episode), question.answer))
        value = min(1.0, max(0.0, (near - echo) / (1 - echo))) if echo < 1 else 0.0
        return Measure(value, "" if value else "the report says no more of the answer than the question does")

    def _texts(self, episode: Episode) -> list[str]:
        episode = _assumed_right(episode)
        question = episode.question
        if not episode.turns or episode.answer is None:
            return []
        report = episode.turns[-1].text
        if question.options:
            justification = justification_of(report)
            right = is_correct(question, episode.answer)
            return [justification, *question.options.values()] if right and justification else []
        return [
            _affirmed_text(statements(report)) or short(episode),
            short(episode),
            question.text,
            question.answer,
        ]


def _assumed_right(episode: Episode) -> Episode:
    """The episode, with its own answer in the place of a gold one that nobody knows."""
    question = episode.question
    if question.has_gold or episode.answer is None:
        return episode
    return replace(episode, question=replace(question, answer=episode.answer))


def short(episode: Episode) -> str:
    """The answer in words up to the end of its first sentence: what follows is said about it."""
    found = sentences(episode.answer or "")
    return found[0].text if found else ""


def given_in_words(question: Question, report: str, answer: str) -> str | None:
    """Why the answer in words is not the reference's; None where nothing speaks against it."""
    first = sentences(answer)[:1]
    stated = statements(f"It is {first[0].text}.") if first else ()
    said = (*statements(report), *stated)
    key = named(question.answer)
    denies = frozenset(concept for statement in said for concept in statement.denies)
    if denied := key & denies:
        return f"the report denies {min(concept.name for concept in denied)}"
    if any(any(statement.denied) for statement in stated):
        return "the answer denies what it names"
    affirms = frozenset(concept for statement in stated for concept in statement.affirms)
    if missing := key - affirms - affirmed(statements(report)):
        return f"the report does not affirm {min(concept.name for concept in missing)}"
    others = {concept for concept in affirms - key if concept.kind == "disease"}
    if key and others:
        return f"the answer names {min(concept.name for concept in others)} as well"
    answers = {found.strip().casefold() for found in _LABELLED.findall(report)}
    return "there is more than one answer" if len(answers) > 1 else None


def justification_of(report: str) -> str:
    """What the report affirms in sentences, its line with the answer left out."""
    return _affirmed_text(
        [statement for statement in statements(report) if "answer" not in statement.sentence.words[:3]]
    )


def _affirmed_text(said: Sequence[Statement]) -> str:
    return ". ".join(statement.sentence.text for statement in said if not all(statement.denied))


def is_right(episode: Episode, accuracy: Measure) -> float:
    """How far the answer is right: with options whether or how likely it is, in words the accuracy itself."""
    return chance_right(episode) if episode.question.options else accuracy.value
