"""Medical relevance: the concepts that belong to this question, and cover what matters, over all turns.

`F1(precision, recall) · min(1, distinct trigrams ÷ .7)`. Precision is over the concepts that are the
question's, an option's or the reference's; a disease that is none of these is a differential
diagnosis and counts neither way. Recall is over the concepts that the reference affirms.
"""

from __future__ import annotations

from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.rewards.concepts import Concept
from maporl_cli.rewards.sentences import READ, words_of
from maporl_cli.rewards.stances import all_named, asks_for_verdict, speaks_of
from maporl_cli.rewards.statements import Statement, affirmed, all_statements, named, statements

_DISTINCT = 0.7
_PARTS = 3
_FEW = 3
"""Concepts that a reference must add to the question's, or all that it affirms are asked for."""
_ENOUGH = 6
"""Concepts of the reference that make full recall."""


def reference_concepts(question: Question) -> frozenset[Concept]:
    """What the rationale affirms and the gold answer names, beyond what the question itself says."""
    gold = question.options.get(question.answer, question.answer)
    reference = affirmed(statements(question.rationale)) | named(gold)
    new = reference - named(question.text)
    return new if len(new) >= _FEW else reference


def medical_relevance(episode: Episode) -> Measure | None:
    """How well the turns' concepts fit the question; None where no reference names any."""
    question = episode.question
    wanted = reference_concepts(question)
    if not wanted:
        return None
    # To deny what the reference affirms is no hit; of a yes-or-no question that may be the answer.
    reversed_ones = frozenset[Concept]() if asks_for_verdict(question) else wanted
    found = frozenset(
        concept
        for statement in all_statements(episode)
        if not _dumps(question, statement)
        for concept in statement.affirms | (statement.denies - reversed_ones)
    )
    if not found:
        return Measure(0.0, "no turn states a medical concept in a sentence of its own")
    fitting = wanted | named(question.text) | named(question.context) | all_named(question.options.values())
    counted = {concept for concept in found if concept in fitting or concept.kind != "disease"}
    hits = len(counted & fitting)
    # More than a few concepts of a long rationale nobody would repeat in two sentences.
    recall = min(1.0, len(found & wanted) / min(len(wanted), _ENOUGH))
    precision = hits / len(counted) if counted else 0.0
    if not hits or not recall:
        return Measure(0.0, "none of the concepts that the turns state belongs to this question")
    return Measure(2 * precision * recall / (precision + recall) * min(1.0, variety(episode) / _DISTINCT))


def _dumps(question: Question, statement: Statement) -> bool:
    """Whether it names most of the options in one breath and denies none: a list, not a choice."""
    named_ones = [letter for letter in question.options if speaks_of(question, letter, statement) > 0]
    return len(named_ones) > max(2, len(question.options) // 2)


def variety(episode: Episode) -> float:
    """Distinct among all trigrams of words of the turns; 1 where there are none."""
    grams: list[tuple[str, ...]] = []
    for turn in episode.turns:
        words = words_of(turn.text[:READ])
        grams += [words[start : start + _PARTS] for start in range(len(words) - _PARTS + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


register_component("medical_relevance", medical_relevance)
