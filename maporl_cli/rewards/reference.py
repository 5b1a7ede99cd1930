"""What the reference says of a question, and what of it the turns turn round."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from maporl_cli.core.types import Question
from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.directions import rises_for_falls
from maporl_cli.rewards.sentences import sentences
from maporl_cli.rewards.stances import all_named, asks_for_verdict
from maporl_cli.rewards.statements import Statement, affirmed, missing, named, statements

_FEW = 3
"""Concepts that a reference must add to the question's, or all that it affirms are asked for."""

_RELATED = 2
"""Concepts that a statement and a sentence of the reference share where both tell how they are related."""

_BEHIND = 4
"""Words behind a concept within which it is called unlikely."""


def reference_concepts(question: Question) -> frozenset[Concept]:
    """What the rationale affirms and the gold answer names, beyond what the question itself says.

    Of a yes-or-no question also what it denies, which may be the answer.
    """
    gold = question.options.get(question.answer, question.answer)
    told = statements(question.rationale)
    reference = affirmed(told) | named(gold)
    if asks_for_verdict(question):
        reference |= {concept for statement in told for concept in statement.denies}
    new = reference - named(question.text)
    return new if len(new) >= _FEW else reference


def reversed_facts(question: Question, said: Sequence[Statement]) -> frozenset[Concept]:
    """Findings and diseases of the reference that are said not to be there, and nowhere to be there; and what
    a statement and a sentence of the reference both name, where one tells of a rise and the other of a fall.

    To advise against an act is another matter, and of a yes-or-no question a denial may be the answer.
    """
    if asks_for_verdict(question):
        return frozenset()
    absent = {concept for statement in said for concept in missing(statement)}
    there = {concept for statement in said for concept in statement.concepts - missing(statement)}
    turned = {concept for statement in said for concept in _turned(question.rationale, statement)}
    return (_facts(question, reference_concepts(question)) & frozenset(absent - there)) | turned


def _turned(rationale: str, statement: Statement) -> frozenset[Concept]:
    """What a statement shares with the sentence of the reference that is most like it, and turns round."""
    parts = sentences(rationale)
    shared = [statement.concepts & named(sentence.text) for sentence in parts]
    most = max(map(len, shared), default=0)
    like = [place for place, concepts in enumerate(shared) if len(concepts) == most]
    if most < _RELATED or not all(
        rises_for_falls(statement.sentence.text, parts[place].text) for place in like
    ):
        return frozenset()
    return frozenset[Concept]().union(*(shared[place] for place in like))


def denies_diagnosis(question: Question, said: Sequence[Statement]) -> bool:
    """Whether a diagnosis that the reference begins with, or is, is only ever spoken against."""
    if asks_for_verdict(question):
        return False
    gold = question.options.get(question.answer, question.answer)
    diagnosis = {
        concept for concept in _opening(question.rationale) | named(gold) if concept.kind == "disease"
    }
    against = {concept for statement in said for concept in statement.denies | _doubted(statement)}
    backed = {concept for statement in said for concept in statement.affirms - _doubted(statement)}
    return bool(_facts(question, frozenset(diagnosis)) & (against - backed))


def _doubted(statement: Statement) -> frozenset[Concept]:
    """What the statement says is unlikely, in the words right behind it."""
    words = statement.sentence.words
    return frozenset(
        mention.concept
        for mention in mentions(words)
        for behind in [words[mention.end : mention.end + _BEHIND]]
        if "unlikely" in behind or ("less" in behind and "likely" in behind)
    )


def _facts(question: Question, concepts: frozenset[Concept]) -> frozenset[Concept]:
    """Those that are or are not there, and that no wrong option is: that one may well be absent."""
    others = all_named(text for letter, text in question.options.items() if letter != question.answer)
    return frozenset(concept for concept in concepts - others if concept.kind in ("disease", "finding"))


@lru_cache(maxsize=1024)
def _opening(rationale: str) -> frozenset[Concept]:
    """The concepts of its first sentence; what follows may be about other patients."""
    return frozenset(
        mention.concept for first in sentences(rationale)[:1] for mention in mentions(first.words)
    )
