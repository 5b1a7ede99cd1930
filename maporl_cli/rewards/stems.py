"""Words reduced to their stems, to compare texts that say a thing in different forms of its words."""

from __future__ import annotations

from functools import lru_cache

# PyStemmer has no types.
import Stemmer  # pyright: ignore[reportMissingTypeStubs]

from maporl_cli.rewards.sentences import FUNCTION_WORDS, words_of

_STEMMER = Stemmer.Stemmer("english")


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of a lower-case word (Snowball's English stemmer); a number as it stands."""
    return word if word[0].isdigit() else _STEMMER.stemWord(word)


@lru_cache(maxsize=8192)
def content_stems(text: str) -> frozenset[str]:
    """Stems of the words that name something, and numbers."""
    return frozenset(stem(word) for word in words_of(text) if word not in FUNCTION_WORDS)
