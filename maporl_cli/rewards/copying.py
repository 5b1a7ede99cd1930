"""What of a turn is its own, and what it has copied from the prompt or from a teammate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from maporl_cli.core.types import Episode
from maporl_cli.rewards.sentences import READ, words_of

SPAN = 8
"""Words in a row that make a copy: shorter ones meet by chance, and are how one speaks of the same thing."""

Grams = frozenset[tuple[str, ...]]


@lru_cache(maxsize=4096)
def _grams(text: str) -> Grams:
    words = words_of(text[:READ])
    return frozenset(words[start : start + SPAN] for start in range(len(words) - SPAN + 1))


@lru_cache(maxsize=1024)
def _options(options: tuple[str, ...]) -> Grams:
    """Spans within an option's own text, which are never a copy: it is what has to be named."""
    return frozenset(gram for option in options for gram in _grams(option))


def sources_of(episode: Episode) -> tuple[str, ...]:
    """The texts of the prompts that a turn may have copied."""
    question = episode.question
    return (question.text, question.context, *(snippet.text for snippet in episode.evidence))


def copied(words: Sequence[str], sources: Sequence[str], options: Sequence[str] = ()) -> list[bool]:
    """For each word, whether it stands in a span of `SPAN` words of a source that is no option's own text."""
    marks = [False] * len(words)
    allowed = _options(tuple(options))
    grams = [found for found in map(_grams, sources) if found]
    for start in range(len(words) - SPAN + 1):
        gram = tuple(words[start : start + SPAN])
        if gram not in allowed and any(gram in found for found in grams):
            marks[start : start + SPAN] = [True] * SPAN
    return marks


def earlier_turns(episode: Episode, index: int) -> tuple[str, ...]:
    """What was said before a turn."""
    return tuple(turn.text for turn in episode.turns[:index])
