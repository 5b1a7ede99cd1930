"""Where the researcher's snippets come from: the question's own pool, a file, or nowhere.

Ranking is BM25 (bm25s). A pool that fits whole is shown in its own order, so that the ranking
does not give away which snippet matters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import bm25s
import numpy as np
import Stemmer

from maporl_cli.core.errors import DataError
from maporl_cli.core.types import Question, Snippet

_INDEXES = 256
"""Pools whose index is kept: all of a step, whose questions are asked a group of times."""


class Evidence(Protocol):
    """A source of snippets."""

    def retrieve(self, question: Question, query: str) -> tuple[Snippet, ...]:
        """The snippets to show for `question`, given what the team is looking for."""
        ...


class NoEvidence:
    """Nothing is retrieved; evidence components of the reward are then left out."""

    def retrieve(self, question: Question, query: str) -> tuple[Snippet, ...]:
        return ()


class Index:
    """BM25 over a fixed set of snippets.

    Args:
        snippets: what can be found; at least one.
    """

    def __init__(self, snippets: Sequence[Snippet]) -> None:
        self._snippets = tuple(snippets)
        self._stemmer = Stemmer.Stemmer("english")
        texts = self._words([snippet.text for snippet in snippets])
        self._known = frozenset(word for text in texts for word in text)
        self._bm25 = bm25s.BM25()
        if self._known:
            self._bm25.index(texts, show_progress=False)

    def _words(self, texts: list[str]) -> list[list[str]]:
        return bm25s.tokenize(  # pyright: ignore[reportReturnType]
            texts, stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False
        )

    def search(self, query: str, k: int) -> tuple[Snippet, ...]:
        """The `k` best snippets, best first; ties keep the order of the index."""
        k = min(k, len(self._snippets))
        words = [word for word in self._words([query])[0] if word in self._known]
        if not words:
            return self._snippets[:k]
        scores = self._bm25.get_scores(words)
        # bm25s's own top-k breaks ties at random places; a stable sort of the few that can win does not.
        able = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        best = able[np.argsort(-scores[able], kind="stable")][:k]
        return tuple(self._snippets[int(place)] for place in best)


class PoolEvidence:
    """The `top_k` snippets of the question's own pool."""

    def __init__(self, top_k: int) -> None:
        self._top_k = top_k
        # By content: an id is unique within its file only, and a run reads several. Not all for ever: a
        # server is asked about new pools as long as it runs.
        self._index = lru_cache(_INDEXES)(Index)

    def retrieve(self, question: Question, query: str) -> tuple[Snippet, ...]:
        if len(question.evidence) <= self._top_k:
            return question.evidence
        return self._index(question.evidence).search(query, self._top_k)


class FileEvidence:
    """The `top_k` snippets of one index over a JSONL file of `{"id", "text", "level"?}` rows.

    Raises:
        DataError: a row is not such an object, or the file holds none.
    """

    def __init__(self, path: Path, top_k: int) -> None:
        snippets: list[Snippet] = []
        try:
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        snippets.append(_snippet(line, f"{path}:{number}"))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                "The evidence file cannot be read.",
                where=str(path),
                why=(error.strerror if isinstance(error, OSError) else None) or str(error),
                fix="set team.evidence to `pool`, `none`, or a readable JSONL file",
            ) from error
        if not snippets:
            raise DataError(
                "The evidence file is empty.",
                where=str(path),
                fix='add rows such as {"id": "e1", "text": "…"}',
            )
        self._index, self._top_k = Index(snippets), top_k

    def retrieve(self, question: Question, query: str) -> tuple[Snippet, ...]:
        return self._index.search(query, self._top_k)


def _snippet(line: str, where: str) -> Snippet:
    try:
        row = json.loads(line)
        return Snippet(id=str(row["id"]), text=str(row["text"]), level=str(row.get("level") or ""))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "A row of the evidence file is no snippet.",
            where=where,
            why=f"{type(error).__name__}: {error}",
            fix='write each row as {"id": "e1", "text": "…"}',
        ) from error


def open_evidence(source: str, top_k: int) -> Evidence:
    """The evidence that the config's `team.evidence` names: `pool`, `none` or a file."""
    if source == "pool":
        return PoolEvidence(top_k)
    if source == "none":
        return NoEvidence()
    return FileEvidence(Path(source), top_k)
