"""Medical relevance: the concepts that belong to this question, and cover what matters, over all turns.

`F1(precision, recall) · min(1, distinct trigrams ÷ .7)`. Precision is over the concepts that are the
question's, an option's or the reference's; a disease that is none of these is a differential
diagnosis and counts neither way, and what the reference affirms and the turns say is not there counts
as beside the point. Recall is over the concepts that the reference affirms. A concept counts only where
its sentence says something of it: each takes a word that neither the prompt nor an earlier sentence has.
"""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.rewards.concepts import Concept
from maporl_cli.rewards.reference import reference_concepts, reversed_facts
from maporl_cli.rewards.sentences import READ, words_of
from maporl_cli.rewards.stances import all_named, asks_for_verdict, speaks_of
from maporl_cli.rewards.statements import Statement, all_statements, named, substance

_DISTINCT = 0.7
_PARTS = 3
_ENOUGH = 6
"""Concepts of the reference that make full recall."""


def medical_relevance(episode: Episode) -> Measure | None:
    """How well the turns' concepts fit the question; None where no reference names any."""
    question = episode.question
    wanted = reference_concepts(question)
    if not wanted:
        return None
    said = [statement for statement in all_statements(episode) if not _dumps(question, statement)]
    found = _told_of(question, said, wanted)
    if not found:
        return Measure(0.0, "no turn says something of a medical concept in a sentence of its own")
    fitting = wanted | named(question.text) | named(question.context) | all_named(question.options.values())
    counted = {concept for concept in found if concept in fitting or concept.kind != "disease"}
    hits = len(counted & fitting)
    # More than a few concepts of a long rationale nobody would repeat in two sentences.
    recall = min(1.0, len(found & wanted) / min(len(wanted), _ENOUGH))
    stated = len(counted) + len(reversed_facts(question, said))
    precision = hits / stated if stated else 0.0
    if not hits or not recall:
        return Measure(0.0, "none of the concepts that the turns state belongs to this question")
    return Measure(2 * precision * recall / (precision + recall) * min(1.0, variety(episode) / _DISTINCT))


def _told_of(question: Question, said: Sequence[Statement], wanted: frozenset[Concept]) -> frozenset[Concept]:
    """The concepts of which a statement says something: each takes a word that nobody has used yet.

    "It is X. There is Y, and there is Z" names three and says nothing of any.
    """
    # To deny what the reference affirms is no hit; of a yes-or-no question that may be the answer.
    missed = frozenset[Concept]() if asks_for_verdict(question) else wanted
    found: set[Concept] = set()
    spoken: set[str] = set()
    for statement in said:
        new = substance(question, statement, concepts=False) - spoken
        spoken |= new
        named_here = (statement.affirms | (statement.denies - missed)) - found
        by_worth = sorted(named_here, key=lambda concept: (concept not in wanted, concept.name))
        found.update(by_worth[: len(new)])
    return frozenset(found)


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
