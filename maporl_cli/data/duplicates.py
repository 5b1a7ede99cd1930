"""Questions that are the same, or nearly.

The same: stem, context and options agree up to case, white space and the options' order. Nearly
the same: their word pairs overlap (Jaccard similarity, estimated by MinHash) at least
`THRESHOLD`. In MedQA, MMLU, MedXpertQA and PubMedQA different questions stay below .4 and edited
copies lie above .7.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import numpy as np
from datasketch import MinHash  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from maporl_cli.core.types import Question

THRESHOLD = 0.6
# Below so many words a stem alone ("Which of these is true?") does not tell questions apart.
SHORT_STEM = 30

_PERMUTATIONS = 128
# Bands of 4 of the 128: a pair of similarity .6 shares one with probability .99, .75 with .99999.
_BAND = 4
_WORD = re.compile(r"\w+")


def content_number(question: Question) -> int:
    """64 bits, equal for questions that are the same, whatever their id, label and order of options."""
    parts = (question.text, question.context, *sorted(map(_plain, question.options.values())))
    return _number("\0".join(map(_plain, parts)).encode())


def group_near_duplicates(questions: Sequence[Question], *, workers: int = 0) -> list[int]:
    """A cluster number a question; chains of near-duplicates are one cluster.

    Clusters are numbered from 0 in the order of their first question.

    Args:
        workers: processes that compute signatures, where most of the time goes; 0: this one does.
    """
    fingerprints = Fingerprints()
    if workers == 0:
        for question in questions:
            fingerprints.add(question)
    else:
        # Spawned, not forked: torch's threads may hold a lock at the moment of a fork.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for signature in pool.map(signature_of, map(_texts, questions), chunksize=256):
                fingerprints.add_signature(signature)
    return fingerprints.clusters()


Texts = tuple[str, str, tuple[str, ...]]
"""Stem, context and options of a question: what its signature is computed from."""


def _texts(question: Question) -> Texts:
    return question.text, question.context, tuple(question.options.values())


def signature_of(texts: Texts) -> bytes:
    """The MinHash signature of a question's word pairs."""
    sketch = _empty_sketch().copy()
    sketch.update_batch([pair.encode() for pair in _word_pairs(*texts)])
    return np.asarray(sketch.hashvalues).astype(np.uint32).tobytes()


@cache
def _empty_sketch() -> Any:
    return MinHash(num_perm=_PERMUTATIONS, seed=1)


class Fingerprints:
    """MinHash signatures of questions, kept in a temporary file: 512 bytes each on disk, 8 in memory."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._keys = array("Q")

    def add(self, question: Question) -> None:
        """Appends the next question."""
        self.add_signature(signature_of(_texts(question)))

    def add_signature(self, signature: bytes) -> None:
        """Appends the next question by its signature."""
        self._file.write(signature)
        self._keys.append(_number(signature))

    def clusters(self) -> list[int]:
        """As `group_near_duplicates`, of the questions added so far."""
        if not self._keys:
            return []
        self._file.flush()
        signatures = np.memmap(self._file, np.uint32, "r", shape=(len(self._keys), _PERMUTATIONS))
        clusters = _Clusters(len(self._keys))
        distinct = _join_equal(np.frombuffer(self._keys, np.uint64), clusters)
        for start in range(0, _PERMUTATIONS, _BAND):
            for rows in equal_runs(_mixed(signatures[distinct, start : start + _BAND])):
                _join_similar(distinct[rows], signatures, clusters)
        return clusters.numbered()


class _Clusters:
    """A forest of rows: two rows are in one cluster when they have one root, its first row."""

    def __init__(self, size: int) -> None:
        self._parent = array("q", range(size))

    def root(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def numbered(self) -> list[int]:
        numbers: dict[int, int] = {}
        return [numbers.setdefault(self.root(row), len(numbers)) for row in range(len(self._parent))]


def _join_equal(keys: NDArray[np.uint64], clusters: _Clusters) -> NDArray[np.int64]:
    """Joins the rows of each key; returns the first row of each."""
    for rows in equal_runs(keys):
        for row in rows[1:]:
            clusters.join(int(rows[0]), int(row))
    return np.sort(np.unique(keys, return_index=True)[1]).astype(np.int64)


def _join_similar(rows: NDArray[np.int64], signatures: NDArray[np.uint32], clusters: _Clusters) -> None:
    """Joins every similar pair among `rows`, which share a band."""
    roots = [clusters.root(int(row)) for row in rows]
    if len(set(roots)) == 1:
        return
    block = np.asarray(signatures[rows])
    for i in range(1, len(rows)):
        similarity = (block[:i] == block[i]).mean(axis=1)
        for j in np.flatnonzero(similarity >= THRESHOLD):
            clusters.join(int(rows[i]), int(rows[j]))


def equal_runs(keys: NDArray[np.uint64]) -> Iterable[NDArray[np.int64]]:
    """Positions of equal keys, ascending, for each key that stands at least twice."""
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    bounds = [0, *edges.tolist(), len(keys)]
    return (order[a:b] for a, b in pairwise(bounds) if b - a > 1)


def _mixed(band: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One number a row of `band` (rows × _BAND); a chance collision costs a comparison, no more."""
    mixed = np.zeros(len(band), np.uint64)
    for column in band.T:
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + column
    return mixed


def _word_pairs(stem: str, context: str, options: Sequence[str]) -> set[str]:
    words = _words((stem, context))
    if len(words) < SHORT_STEM:
        words += _words(sorted(map(_plain, options)))
    if len(words) < 2:
        return {_plain(stem)}
    return {f"{one} {two}" for one, two in pairwise(words)}


def _number(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def _words(texts: Sequence[str]) -> list[str]:
    return [word for text in texts for word in _WORD.findall(_plain(text))]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
