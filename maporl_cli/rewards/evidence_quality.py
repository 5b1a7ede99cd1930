"""Evidence quality: citations that exist, were shown, and support the claim they stand beside.

F1 of citation precision (supporting ÷ all citations) and claim coverage (claims with a supporting
citation ÷ claims about what the evidence says), times the mean level of the evidence that supports.
A citation supports its claim where the id was shown, at least half of the claim's content words (those
not already in the question; if none is left, those of the option that the turn stands for) are in the
snippet, its numbers are too and belong to the same things, and both affirm, advise and deny the same
concepts, in the same direction (`rewards.support`). With a sentence encoder, a claim in other words than
the snippet's is covered where no other snippet is nearer in meaning. Who mostly reads snippets out has told
little of them: twice the share of the cited claims' own words remains, where that is less than all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from maporl_cli.core.types import Episode, Snippet
from maporl_cli.rewards.claims import Claim, claims
from maporl_cli.rewards.component import Measure
from maporl_cli.rewards.copying import copied
from maporl_cli.rewards.dangers import vignette_of
from maporl_cli.rewards.sentences import words_of
from maporl_cli.rewards.similarity import Similarity
from maporl_cli.rewards.stems import content_stems
from maporl_cli.rewards.support import supports

_ABOUT = 0.5
"""Share of a sentence's new content words in a snippet that makes it a claim about the evidence."""
_OWN = 2
"""Times the share of their own words in all cited claims: who reads out more than half tells less."""
_FEW = 2
"""New content words of a snippet that any sentence on the case may have."""
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


class EvidenceQuality:
    """The component, around a sentence encoder where there is one."""

    def __init__(self, similarity: Similarity | None) -> None:
        self._similarity = similarity

    def prepare(self, episodes: Sequence[Episode]) -> None:
        """Embed all that the episodes need at once."""
        if self._similarity is not None:
            self._similarity.prepare([text for episode in episodes for text in _texts(episode)])

    def __call__(self, episode: Episode) -> Measure | None:
        """How well the turns cite; None where no agent was shown any evidence."""
        return _measured(episode, self._nearness)

    def _nearness(self, claim: str, snippet: str, evidence: Sequence[Snippet]) -> float:
        """The cosine of claim and snippet; 0 where another snippet is nearer, or without an encoder."""
        if self._similarity is None:
            return 0.0
        near = self._similarity.of(claim, snippet)
        return near if all(self._similarity.of(claim, other.text) <= near for other in evidence) else 0.0


def _texts(episode: Episode) -> list[str]:
    cited = [claim.text for claim in claims(episode) if claim.cited] if episode.evidence else []
    return [*cited, *(snippet.text for snippet in episode.evidence)] if cited else []


def _measured(episode: Episode, nearness: Callable[[str, str, Sequence[Snippet]], float]) -> Measure | None:
    question = episode.question
    shown = {snippet.id.casefold(): snippet for snippet in episode.evidence}
    if not shown:
        return None
    made = list(claims(episode))
    citations = [(claim, cited) for claim in made for cited in claim.cited]
    if not citations:
        return Measure(0.0, "nothing is cited")
    supporting = [
        (claim, shown[cited])
        for claim, cited in citations
        if cited in shown
        and supports(question, claim, shown[cited], nearness(claim.text, shown[cited].text, episode.evidence))
    ]
    if not supporting:
        return Measure(0.0, "no citation supports the claim that it stands beside")
    supported = {id(claim) for claim, _ in supporting}
    about = [claim for claim in made if id(claim) in supported or claim.cited or _is_about(episode, claim)]
    precision = len(supporting) / len(citations)
    coverage = len(supported) / len(about)
    level = fmean(_LEVELS.get(snippet.level.casefold(), 1.0) for _, snippet in supporting)
    own = min(1.0, _OWN * (1 - fmean(_read_out(claim, episode.evidence) for claim, _ in citations)))
    value = 2 * precision * coverage / (precision + coverage) * level * own
    return Measure(value, "" if value else "what is cited is only read out")


def _read_out(claim: Claim, evidence: Sequence[Snippet]) -> float:
    """The share of a claim's words that are copied from the evidence."""
    marks = copied(words_of(claim.text), [snippet.text for snippet in evidence])
    return sum(marks) / len(marks) if marks else 0.0


def _is_about(episode: Episode, claim: Claim) -> bool:
    """Whether an uncited statement says what a snippet says, and so should cite it."""
    question = episode.question
    known = content_stems(f"{vignette_of(question)} {' '.join(question.options.values())}")
    new = content_stems(claim.text) - known
    shared = max(len(new & content_stems(snippet.text)) for snippet in episode.evidence)
    return shared > _FEW and shared >= _ABOUT * len(new)
