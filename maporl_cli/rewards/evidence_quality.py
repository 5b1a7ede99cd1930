"""Evidence quality: citations that exist, were shown, and support the claim they stand behind.

F1 of citation precision (supporting ÷ all citations) and claim coverage (claims with a supporting
citation ÷ claims about what the evidence says), times the mean level of the evidence that supports.
A citation supports its sentence where the id was shown, at least half of the sentence's content words
(those not already in the question; if none is left, those of the option that the turn stands for)
are in the snippet, its numbers are too, and both affirm and deny the same concepts, in the same direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from maporl_cli.core.types import Episode, Question, Snippet
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.dangers import vignette_of
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import Sentence, sentences, words_of
from maporl_cli.rewards.stances import stance
from maporl_cli.rewards.statements import Statement, statements
from maporl_cli.rewards.stems import content_stems, stem

_CITED = re.compile(r"\[([^\[\]\n]{1,80})\]")
_BEHIND = re.compile(r"([.!?])\s*((?:\[[^\[\]\n]{1,80}\]\s*)+)")
_CLAUSES = re.compile(r"[,;:]| which | because | since ")
_SUPPORT = 0.5
_ABOUT = 0.5
"""Share of a sentence's new content words in a snippet that makes it a claim about the evidence."""
_LEVELS: Mapping[str, float] = {
    "guideline": 1.0,
    "meta-analysis": 1.0,
    "systematic review": 1.0,
    "rct": 0.95,
    "cohort": 0.8,
    "case-control": 0.7,
    "case series": 0.6,
    "case report": 0.5,
    "expert opinion": 0.5,
}
"""After the levels of the Oxford Centre for Evidence-Based Medicine (2011), as weights of our own."""


def _stems(words: str) -> frozenset[str]:
    return frozenset(map(stem, words.split()))


_OPPOSED = (
    (
        _stems("increase raise higher more greater elevate rise"),
        _stems("decrease reduce lower less fewer fall"),
    ),
    (
        _stems("harm worsen damage toxic fatal death danger unsafe"),
        _stems("protect improve benefit safe prevent safely"),
    ),
    (
        _stems("superior effective recommend prefer preferred indicated"),
        _stems("inferior ineffective avoid contraindicated unnecessary withhold"),
    ),
)
"""Pairs of directions: a claim that says the one of what the snippet says the other of turns it round."""
_STUDY = _stems(
    "randomized randomised trial study guideline meta analysis cohort pooled pool report found find showed "
    "show says say states evidence review according agree agrees also adds names"
)
"""How a source is spoken of: what it found is said by the other words."""
_PROTECTS = frozenset(map(stem, ["protect", "protects", "benefit", "improve", "prevent", "safe", "safely"]))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a statement says up to a citation, or all of one that cites nothing.

    Attributes:
        statement: the whole sentence.
        text: the part.
        words: which of the sentence's words it has.
        cited: the ids behind it.
        chosen: the option that the turn stands for.
    """

    statement: Statement
    text: str
    words: range
    cited: tuple[str, ...]
    chosen: str


def evidence_quality(episode: Episode) -> Measure | None:
    """How well the turns cite; None where the question has no evidence."""
    question = episode.question
    shown = {snippet.id.casefold(): snippet for snippet in question.evidence}
    if not shown:
        return None
    claims = list(_claims(episode))
    citations = [(claim, cited) for claim in claims for cited in claim.cited]
    if not citations:
        return Measure(0.0, "nothing is cited")
    supporting = [
        (claim, shown[cited])
        for claim, cited in citations
        if cited in shown and supports(question, claim, shown[cited])
    ]
    if not supporting:
        return Measure(0.0, "no citation supports the sentence that it stands behind")
    supported = {id(claim) for claim, _ in supporting}
    about = [claim for claim in claims if id(claim) in supported or claim.cited or _is_about(question, claim)]
    precision = len(supporting) / len(citations)
    coverage = len(supported) / len(about)
    level = fmean(_LEVELS.get(snippet.level.casefold(), 1.0) for _, snippet in supporting)
    return Measure(2 * precision * coverage / (precision + coverage) * level)


def _claims(episode: Episode) -> Iterator[Claim]:
    """Every statement of the turns in parts, each up to its citation; it may stand behind the full stop."""
    question = episode.question
    for turn in episode.turns:
        text = _BEHIND.sub(r" \2\1 ", turn.text)
        chosen = question.options.get(stance(question, turn) or "", "")
        for statement in statements(text):
            sentence = statement.sentence
            start = 0
            for match in _CITED.finditer(sentence.text):
                part = sentence.text[start : match.start()]
                if not (new := words_of(part)):
                    continue  # "[e1][e2]": both stand behind the same part, and the first is the one read
                first = len(words_of(sentence.text[:start]))
                yield Claim(statement, part, range(first, first + len(new)), _ids(match[1]), chosen)
                start = match.end()
            if not start:
                yield Claim(statement, sentence.text, range(len(sentence.words)), (), chosen)


def _ids(text: str) -> tuple[str, ...]:
    return tuple(part.strip().casefold() for part in re.split(r"[,;]", text))


def invented(question: Question, text: str) -> set[str]:
    """Ids that the text cites and that were not shown; a bracket without a digit is no citation."""
    shown = {snippet.id.casefold() for snippet in question.evidence}
    cited = {
        part.strip().casefold() for match in _CITED.finditer(text) for part in re.split(r"[,;]", match[1])
    }
    return {name for name in cited - shown if shown and any(sign.isdigit() for sign in name)}


def supports(question: Question, claim: Claim, snippet: Snippet) -> bool:
    """Whether the snippet says what the claim says, or what its last clause does."""
    affirms, denies = _polarity(claim.statement.sentence, claim.words)
    said = content_stems(claim.text)
    clause = content_stems(_CLAUSES.split(claim.text)[-1])
    medical = bool(affirms or denies)
    covered = _is_covered(question, claim, said, snippet, medical=medical)
    covered = covered or (bool(clause) and _is_covered(question, claim, clause, snippet, medical=medical))
    return covered and _same_polarity(affirms, denies, snippet) and _same_direction(said, snippet)


def _is_covered(
    question: Question, claim: Claim, said: frozenset[str], snippet: Snippet, *, medical: bool
) -> bool:
    """Whether enough of what is said is in the snippet, and it is about this case."""
    known, document = content_stems(vignette_of(question)), content_stems(snippet.text)
    new = (said - known - _STUDY) or content_stems(claim.chosen)
    words = frozenset(word for word in new if not word[0].isdigit())
    numbers = frozenset(word for word in said - known if word[0].isdigit())
    if not numbers <= document or (words and len(words & document) < _SUPPORT * len(words)):
        return False
    # What names no concept, no number and no word of the case claims nothing that evidence could support.
    case = known | content_stems(f"{' '.join(question.options.values())} {question.rationale}")
    return medical or bool(numbers or said & document & case)


def _polarity(sentence: Sentence, words: range) -> tuple[set[Concept], set[Concept]]:
    """The concepts among the words that the sentence affirms, and those that it says there are not."""
    marks = denied(sentence, as_advice=False)
    affirms: set[Concept] = set()
    denies: set[Concept] = set()
    for mention in mentions(sentence.words):
        if mention.start in words:
            (denies if marks[mention.start] else affirms).add(mention.concept)
    return affirms, denies


def _same_polarity(affirms: set[Concept], denies: set[Concept], snippet: Snippet) -> bool:
    affirmed: set[Concept] = set()
    missing: set[Concept] = set()
    for sentence in sentences(snippet.text):
        yes, no = _polarity(sentence, range(len(sentence.words)))
        affirmed |= yes
        missing |= no
    return not ((affirms & missing) - affirmed or (denies & affirmed) - missing)


def _same_direction(said: frozenset[str], snippet: Snippet) -> bool:
    """Whether neither says the opposite of the other, and no benefit is claimed that is not written."""
    written = content_stems(snippet.text)
    for one, other in _OPPOSED:
        for this, that in ((one, other), (other, one)):
            if said & this and not said & that and written & that and not written & this:
                return False
    return not (said & _PROTECTS) or bool(written & _PROTECTS)


def _is_about(question: Question, claim: Claim) -> bool:
    """Whether an uncited statement says what a snippet says, and so should cite it."""
    known = content_stems(f"{vignette_of(question)} {' '.join(question.options.values())}")
    new = content_stems(claim.text) - known
    return len(new) > 3 and any(
        len(new & content_stems(snippet.text)) >= _ABOUT * len(new) for snippet in question.evidence
    )


register_component("evidence_quality", evidence_quality)
