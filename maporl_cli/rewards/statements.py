"""What a text states: its sentences, with the concepts that each affirms or denies.

Only sentences with a verb state anything, only outside of enumerations' tails, and only in words of
one's own: spans copied from the prompt or from a teammate are left out (`rewards.copying`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.concepts import Concept, Mention, mentions
from maporl_cli.rewards.copying import copied, earlier_turns, sources_of
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import FUNCTION_WORDS, Sentence, may_qualify, sentences, words_of
from maporl_cli.rewards.stems import content_stems, stem

_BARE = frozenset(
    map(
        stem,
        "answer option choice choose case patient question thing point matter theme topic subject word here "
        "exist present involve include concern cover speak say talk look see find finding consider know name "
        "mean fit support suggest explain match indicate favor favour apply relate belong correspond agree "
        "like likely good best better right correct suitable appropriate proper fitting indeed really simply "
        "important relevant one two three first second third other another same man woman boy girl person "
        "give given go get make take come want need reason because diagnosis treatment "
        "therapy drug test step team well much many plus him himself herself themselves "
        "part play role way own respect care mind time mention note attention deserve aspect "
        "factor key".split(),
    )
)
"""Stems that any sentence may have, and that say nothing of what it names: it is there, it is the best."""

_CONJUNCTIONS = frozenset("and but while whereas because since which although though so".split())
_OWN = 0.5
"""The share of a statement's words that must not be copied for it to add anything."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence with a verb.

    Attributes:
        sentence: the sentence.
        affirms, denies: its concepts.
        denied: for each word, whether it is denied.
        own: the share of its words that are not copied.
    """

    sentence: Sentence
    affirms: frozenset[Concept]
    denies: frozenset[Concept]
    denied: tuple[bool, ...]
    own: float

    @property
    def concepts(self) -> frozenset[Concept]:
        """All of them, affirmed or denied."""
        return self.affirms | self.denies


@lru_cache(maxsize=8192)
def statements(
    text: str, sources: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> tuple[Statement, ...]:
    """What the text states.

    Args:
        sources: what it may have copied.
        options: texts that are never copied.
    """
    found: list[Statement] = []
    said = sentences(text)
    marks = copied([word for sentence in said for word in sentence.words], sources, options)
    start = 0
    for sentence in said:
        words = sentence.words
        own = [not mark for mark in marks[start : start + len(words)]]
        start += len(words)
        if not sentence.says:
            continue
        denials = denied(sentence)
        affirms: set[Concept] = set()
        denies: set[Concept] = set()
        for mention in mentions(words):
            places = range(mention.start, mention.end)
            if all(own[place] for place in places) and mention.start not in sentence.listed:
                (denies if any(denials[place] for place in places) else affirms).add(mention.concept)
        share = sum(own) / len(words)
        found.append(Statement(sentence, frozenset(affirms), frozenset(denies), denials, share))
    return tuple(found)


def own_statements(episode: Episode, index: int) -> tuple[Statement, ...]:
    """What a turn of the episode states in words of its own."""
    question = episode.question
    sources = (*sources_of(episode), *earlier_turns(episode, index))
    return statements(episode.turns[index].text, sources, tuple(question.options.values()))


def all_statements(episode: Episode) -> Iterator[Statement]:
    """What all turns state, in words of their own."""
    for index in range(len(episode.turns)):
        yield from own_statements(episode, index)


def substance(question: Question, statement: Statement, *, concepts: bool) -> frozenset[str]:
    """What a statement adds of its own: stems that neither the prompt has nor any sentence might.

    "It is X", "there is a rare X", "the old Y is present" and "X fits Y" add nothing to X and Y, nor do
    numbers.

    Args:
        concepts: whether the words of concepts count, too, where the prompt does not have them.
    """
    if statement.own <= _OWN:
        return frozenset()
    words = statement.sentence.words
    found = mentions(words)
    named_at = {place for mention in found for place in range(mention.start, mention.end)}
    hidden = (
        set[int]()
        if concepts
        else named_at | {place for place in _before(found) if may_qualify(words[place])}
    )
    said = {
        stem(words[place])
        for clause in _clauses(statement.sentence)
        if _predicates(statement.sentence, clause, named_at)
        for place in clause
        if place not in hidden and _is_content(words[place])
    }
    return frozenset(said - _BARE - _given(question.text, question.context, *question.options.values()))


def _before(found: Iterable[Mention]) -> set[int]:
    return {mention.start - 1 for mention in found if mention.start > 0}


def _clauses(sentence: Sentence) -> list[range]:
    """The words between commas and conjunctions; those without a verb go on from the clause before."""
    bounds = [0, *(place for place, word in enumerate(sentence.words) if _begins(sentence, place, word))]
    parts = [range(start, end) for start, end in pairwise([*bounds, len(sentence.words)]) if start < end]
    clauses: list[range] = []
    for part in parts:
        if clauses and sentence.verbs.isdisjoint(part):
            clauses[-1] = range(clauses[-1].start, part.stop)
        else:
            clauses.append(part)
    return clauses


def _begins(sentence: Sentence, place: int, word: str) -> bool:
    return place > 0 and (place in sentence.breaks or word in _CONJUNCTIONS)


def _predicates(sentence: Sentence, clause: range, named_at: Set[int]) -> bool:
    """Whether the clause says more of its subject than that it is there."""
    verbs = sentence.verbs.intersection(clause)
    return bool(verbs) and any(
        place in named_at or (_is_content(sentence.words[place]) and stem(sentence.words[place]) not in _BARE)
        for place in range(min(verbs), clause.stop)
    )


def _is_content(word: str) -> bool:
    return word.isalpha() and len(word) > 1 and word not in FUNCTION_WORDS


def missing(statement: Statement) -> frozenset[Concept]:
    """The concepts that the statement says are not there; what it only advises against is."""
    marks = denied(statement.sentence, as_advice=False)
    return frozenset(
        mention.concept for mention in mentions(statement.sentence.words) if marks[mention.start]
    )


@lru_cache(maxsize=1024)
def _given(*texts: str) -> frozenset[str]:
    return frozenset[str]().union(*map(content_stems, texts))


def affirmed(found: Iterable[Statement]) -> frozenset[Concept]:
    """What any of the statements affirms."""
    return frozenset(concept for statement in found for concept in statement.affirms)


@lru_cache(maxsize=4096)
def named(text: str) -> frozenset[Concept]:
    """Every concept that the text names, in a sentence or not: what a question or an option is about."""
    return frozenset(mention.concept for mention in mentions(words_of(text)))
