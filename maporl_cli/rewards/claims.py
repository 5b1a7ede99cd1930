"""What a turn claims of the evidence: its statements in parts, each with the sources that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from maporl_cli.core.types import Episode, Question, Snippet, Turn
from maporl_cli.rewards.sentences import words_of
from maporl_cli.rewards.stances import stance
from maporl_cli.rewards.statements import Statement, statements
from maporl_cli.rewards.stems import content_stems, stem

_CITED = re.compile(r"\[([^\[\]\n]{1,80})\]")
_BEHIND = re.compile(r"([.!?])\s*((?:\[[^\[\]\n]{1,80}\]\s*+)++)(?![a-z])")
"""Behind a full stop a citation belongs to the sentence before, unless the next one goes on from it."""
_AHEAD = re.compile(r"^\W{0,3}\[[^\[\]\n]{1,80}\]\s+[A-Z]", re.MULTILINE)
"""A line like this has its citation ahead, and so has what follows."""
_SHORT = 4
"""Words that may lead to a citation: "As to alternatives, [e2] states …"."""
SOURCE = frozenset(
    map(
        stem,
        "randomized trial study guideline meta analysis cohort pooled pool report found find showed show "
        "says say states evidence review according agree agrees also adds names versus vs".split(),
    )
)
"""How a source is spoken of: what it found is said by the other words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a statement says up to a citation, or behind one that leads it, or all of one that cites nothing.

    Attributes:
        statement: the whole sentence.
        text: the part.
        words: which of the sentence's words it has.
        cited: the ids beside it.
        chosen: the option that the turn stands for.
    """

    statement: Statement
    text: str
    words: range
    cited: tuple[str, ...]
    chosen: str


def claims(episode: Episode) -> Iterator[Claim]:
    """Every statement of the turns in parts, each with its citations."""
    for turn in episode.turns:
        yield from _claims(episode.question, turn)


def _claims(question: Question, turn: Turn) -> Iterator[Claim]:
    chosen = question.options.get(stance(question, turn) or "", "")
    leads = _AHEAD.search(turn.text) is not None
    for statement in statements(turn.text if leads else _BEHIND.sub(r" \2\1 ", turn.text)):
        text = statement.sentence.text
        start, leading = 0, ()
        made: list[Claim] = []
        for match in _CITED.finditer(text):
            said = text[start : match.start()]
            if not words_of(said) and made:  # "[e1][e2]": both stand behind the same part
                made[-1] = replace(made[-1], cited=(*made[-1].cited, *_ids(match[1])))
                start = match.end()
            elif content_stems(said) <= SOURCE or _leads_in(said):
                leading, start = _ids(match[1]), match.end()  # "According to [e1], …", "[e1] shows …"
            else:
                made.append(_claim(statement, start, match.start(), (*leading, *_ids(match[1])), chosen))
                leading, start = (), match.end()
        if leading or not start:
            made.append(_claim(statement, start, len(text), leading, chosen))
        yield from made


def _leads_in(said: str) -> bool:
    return said.rstrip().endswith((",", ":")) and len(words_of(said)) <= _SHORT


def _claim(statement: Statement, start: int, end: int, cited: tuple[str, ...], chosen: str) -> Claim:
    text = statement.sentence.text
    first = len(words_of(text[:start]))
    words = range(first, first + len(words_of(text[start:end])))
    return Claim(statement, text[start:end], words, cited, chosen)


def _ids(text: str) -> tuple[str, ...]:
    return tuple(part.strip().casefold() for part in re.split(r"[,;]", text))


def invented(evidence: Sequence[Snippet], text: str) -> set[str]:
    """Ids that the text cites and that are none of the evidence; a bracket without a digit is no citation."""
    shown = {snippet.id.casefold() for snippet in evidence}
    return {name for name in _named(text) - shown if shown and any(sign.isdigit() for sign in name)}


def cited(evidence: Sequence[Snippet], text: str) -> list[str]:
    """The ids of those pieces of evidence that the text cites, in the order of the evidence."""
    named = _named(text)
    return [snippet.id for snippet in evidence if snippet.id.casefold() in named]


def _named(text: str) -> set[str]:
    return {name for match in _CITED.finditer(text) for name in _ids(match[1])}
