"""Rows of token ids as a tree, so that what several of them begin with is computed once.

A node holds tokens that all rows below it share. The nodes are laid out in depth-first order, one packed row
of tokens without padding, so that a node's tokens and those of everything below it are one stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Row = tuple[int, ...]

WORTH_SHARING = 8
"""Tokens. A shorter beginning is computed again in each row: a node costs each layer a call of attention."""


@dataclass(frozen=True, slots=True)
class Node:
    """A stretch of the packed row.

    Attributes:
        start, end: its own tokens.
        reach: where what is below it ends; `end` for a leaf.
        parent: the index of the node before it; None at a root.
    """

    start: int
    end: int
    reach: int
    parent: int | None


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """Distinct beginnings of rows, packed.

    Attributes:
        ids: the packed tokens.
        positions: each one's place in its own row.
        nodes: in depth-first order.
        leaves: for each row, the node that it ends in.
    """

    ids: list[int]
    positions: list[int]
    nodes: list[Node]
    leaves: list[int]

    def places(self, row: int) -> list[int]:
        """Where each token of a row is in the packed one."""
        return self.stretch(self.leaves[row])

    def stretch(self, node: int) -> list[int]:
        """Where each token from a node's root to its own end is."""
        found: list[int] = []
        index: int | None = node
        while index is not None:
            found[:0] = range(self.nodes[index].start, self.nodes[index].end)
            index = self.nodes[index].parent
        return found


def prefix_tree(rows: Sequence[Row], worth_sharing: int = WORTH_SHARING) -> PrefixTree:
    """The tree of some rows, none of them empty; equal rows are one.

    Args:
        worth_sharing: the fewest tokens that become a node of their own between others.
    """
    return _Builder(sorted(set(rows)), worth_sharing).tree(rows)


class _Builder:
    """Lexicographic order puts rows with a common beginning next to each other."""

    def __init__(self, distinct: Sequence[Row], worth_sharing: int) -> None:
        self._rows = distinct
        self._worth = worth_sharing
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._nodes: list[Node] = []
        self._leaf: dict[Row, int] = {}

    def tree(self, rows: Sequence[Row]) -> PrefixTree:
        self._split(0, len(self._rows), 0, None)
        return PrefixTree(self._ids, self._positions, self._nodes, [self._leaf[row] for row in rows])

    def _split(self, low: int, high: int, depth: int, parent: int | None) -> None:
        """Adds the nodes of the rows from `low` to `high`, of which `depth` tokens are laid out already."""
        first, last = self._rows[low], self._rows[high - 1]
        common = _common(first, last)
        shared = high - low == 1 or common - depth >= self._worth
        if not shared:
            for start, stop in self._branches(low, high, common):
                self._split(start, stop, depth, parent)
            return
        index, start = len(self._nodes), len(self._ids)
        self._ids += first[depth:common]
        self._positions += range(depth, common)
        self._nodes.append(Node(start, len(self._ids), len(self._ids), parent))
        if len(first) == common:  # it is the beginning of the others, or alone
            self._leaf[first] = index
            low += 1
        for lower, upper in self._branches(low, high, common):
            self._split(lower, upper, common, index)
        self._nodes[index] = Node(start, self._nodes[index].end, len(self._ids), parent)

    def _branches(self, low: int, high: int, depth: int) -> list[tuple[int, int]]:
        """Runs of rows with the same token at `depth`; a row that has none there is a run of its own."""
        starts = [
            place
            for place in range(low, high)
            if place == low
            or self._rows[place][depth : depth + 1] != self._rows[place - 1][depth : depth + 1]
        ]
        return list(pairwise([*starts, high]))


def _common(one: Row, other: Row) -> int:
    """Tokens that two rows begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
