"""Whether a source supports a claim: it says the same, of the same things, in the same direction."""

from __future__ import annotations

import re
from collections.abc import Iterable

from maporl_cli.core.types import Question, Snippet
from maporl_cli.rewards.advice_words import COMMITS, PRAISES
from maporl_cli.rewards.claims import SOURCE, Claim
from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.dangers import vignette_of
from maporl_cli.rewards.directions import compares, moves, protects, refuses, turned
from maporl_cli.rewards.figures import are_given, misplaced, numbers_of, outweighed, overstated
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import Sentence, sentences
from maporl_cli.rewards.stems import content_stems, stem

_CLAUSES = re.compile(r"[,;:]| which | because | since ")
_SUPPORT = 0.5
"""Share of what is claimed that the source has to say."""
_ALIKE = 0.55
"""Cosine of a claim and a source that say the same in other words: of the claims of 40 honest teams 68 %
reach it with their own source, and 11 % with another one of the case."""
_TOLD_APART = 0.2
"""Share that suffices where two figures of the source are given: they tell it from others."""
_REST = 0.25
"""Share of the whole that suffices where the last clause has its full share: the rest is about the case."""

_IN_USE = frozenset("use used using helps".split())
_TWO = 2
"""Figures, or words of the source, that tell a claim on it from a bare reference ("Steroids are a must")."""

Roles = tuple[frozenset[Concept], frozenset[Concept]]
"""What a text affirms, and what it denies."""


def supports(question: Question, claim: Claim, snippet: Snippet, near: float = 0.0) -> bool:
    """Whether the snippet says what the claim says, or what its last clause does.

    Args:
        near: how near they are in meaning, a cosine; 0 where that is not known.
    """
    known = content_stems(vignette_of(question))
    if not are_given(claim.text, snippet.text, known) or misplaced(claim.text, snippet.text):
        return False
    figures = {value for value in numbers_of(claim.text) if f"{value:g}" not in known}
    if not _is_covered(question, claim, snippet, len(figures), near) or _is_denied(claim, snippet):
        return False
    if any(differs(claim.text, snippet.text) for differs in (turned, outweighed, overstated)):
        return False
    return protects(snippet.text) or not protects(claim.text)  # a benefit that nobody has written is none


def _is_covered(question: Question, claim: Claim, snippet: Snippet, figures: int, near: float) -> bool:
    """Whether enough of what is said is in the snippet, and it is about this case."""
    said, document = content_stems(claim.text), content_stems(snippet.text)
    clause = content_stems(_CLAUSES.split(claim.text)[-1])
    whole = _share(question, claim, said, document)
    enough = whole >= (_SUPPORT if figures < _TWO else _TOLD_APART)
    ends_so = clause and whole >= _REST and _share(question, claim, clause, document) >= _SUPPORT
    if near >= _ALIKE and _is_of_the_case(question, claim, snippet):
        return True
    if not enough and not ends_so:
        return False
    return figures > 0 or (len(said & document) >= _TWO and _is_of_the_case(question, claim, snippet))


def _is_of_the_case(question: Question, claim: Claim, snippet: Snippet) -> bool:
    """Whether the claim names a concept, or shares words with what the snippet says of the case.

    All else, as "full marks are due", claims nothing that evidence could support.
    """
    affirms, denies = _roles(claim.statement.sentence, claim.words, as_advice=False)
    case = content_stems(
        f"{vignette_of(question)} {' '.join(question.options.values())} {question.rationale}"
    )
    said = content_stems(claim.text)
    parts = (content_stems(sentence.text) for sentence in sentences(snippet.text))
    return bool(affirms or denies) or any(said & part and case & part for part in parts)


def _share(question: Question, claim: Claim, said: frozenset[str], document: frozenset[str]) -> float:
    """The share of the words new to the question, or else of the option's, that the source has."""
    new = (said - content_stems(vignette_of(question)) - SOURCE) or content_stems(claim.chosen)
    words = [word for word in new if not word[0].isdigit()]
    return sum(word in document for word in words) / len(words) if words else 1.0


def _is_denied(claim: Claim, snippet: Snippet) -> bool:
    """Whether one says that there is what the other says there is not, or advises what the other forbids."""
    sentence = claim.statement.sentence
    affirms, denies = map(_facts, _roles(sentence, claim.words, as_advice=False))
    affirmed, missing = map(_facts, _told(snippet.text, as_advice=False))
    # "X did not reduce Y" says of neither that it is missing; its direction is compared instead.
    if (affirms & missing) - affirmed or ((denies & affirmed) - missing and not moves(claim.text)):
        return True
    backs, rejects = map(_acts, _roles(sentence, claim.words, as_advice=True))
    backed, rejected = map(_acts, _told(snippet.text, as_advice=True))
    advises = _advises(sentence.words[place] for place in claim.words)
    if advises and not rejects and not refuses(claim.text) and not compares(claim.text):
        return bool(backs & (rejected - backed))
    return bool(rejects & (_advised(snippet.text) - rejected))


def _advises(words: Iterable[str]) -> bool:
    return any(stem(word) in COMMITS | PRAISES or word in _IN_USE for word in words)


def _advised(text: str) -> frozenset[Concept]:
    """The acts that some sentence advises, and speaks no ill of anything."""
    kept = (part for part in sentences(text) if _advises(part.words) and not refuses(part.text))
    return frozenset(
        concept for part in kept for concept in _acts(_roles(part, range(len(part.words)), as_advice=True)[0])
    )


def _roles(sentence: Sentence, words: range, *, as_advice: bool) -> Roles:
    """The concepts among the words that the sentence affirms, and those that it denies."""
    marks = denied(sentence, as_advice=as_advice)
    found = [mention for mention in mentions(sentence.words) if mention.start in words]
    return (
        frozenset(mention.concept for mention in found if not marks[mention.start]),
        frozenset(mention.concept for mention in found if marks[mention.start]),
    )


def _told(text: str, *, as_advice: bool) -> Roles:
    roles = [_roles(part, range(len(part.words)), as_advice=as_advice) for part in sentences(text)]
    empty = frozenset[Concept]()
    return empty.union(*(yes for yes, _ in roles)), empty.union(*(no for _, no in roles))


def _facts(concepts: frozenset[Concept]) -> frozenset[Concept]:
    """Those that are there or not."""
    return frozenset(concept for concept in concepts if concept.kind in ("disease", "finding"))


def _acts(concepts: frozenset[Concept]) -> frozenset[Concept]:
    """Those that are done to a patient, and so can be advised against."""
    return frozenset(concept for concept in concepts if concept.kind in ("drug", "act"))
