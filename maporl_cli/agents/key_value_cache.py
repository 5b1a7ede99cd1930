"""The keys and values of rows that are written on: what a group of rows begins with is stored once for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maporl_cli.agents.bench import Bench, Stored
from maporl_cli.agents.prefix_tree import PrefixTree
from maporl_cli.agents.trunks import trunks_of

_WASTE = 2
"""Seats a row, beyond which groups of unlike sizes are computed apart: all groups of a bench have as many."""


class KeyValueCache:
    """A trunk for each group of rows, and what is each row's own; groups of about the same size on a bench.

    Args:
        tree: the rows as they were read.
        stored: of each layer, its keys and values of the tree's packed row, (tokens, key-value heads, width).
            Emptied, so that each layer's are given back once they are taken over.
        room: tokens that may follow in each row.
        scale: of the products of queries and keys.
        still: each token does the same work on the same tensors, as `Bench` has it.
    """

    def __init__(
        self, tree: PrefixTree, stored: list[Stored], room: int, scale: float, *, still: bool
    ) -> None:
        trunks, groups = trunks_of(tree)
        members: list[list[int]] = [[] for _ in trunks]
        for row, group in enumerate(groups):
            members[group].append(row)
        key = stored[0][0]
        self._benches: list[Bench] = []
        self._rows: list[Tensor] = []
        """Which of the rows sit on each bench, in order."""
        for together in _benches(list(map(len, members))):
            rows = sorted(row for group in together for row in members[group])
            seats = [together.index(groups[row]) for row in rows]
            own = [tree.places(row)[len(trunks[groups[row]]) :] for row in rows]
            common = [trunks[group] for group in together]
            self._benches.append(Bench(common, seats, own, room, scale, key, still=still))
            self._rows.append(torch.tensor(rows, device=key.device))
        del key
        while stored:
            layer = stored.pop(0)
            for bench in self._benches:
                bench.take(*layer)

    def begin(self) -> None:
        """Makes place for one more token in each row."""
        for bench in self._benches:
            bench.begin()

    def keep(self, rows: Tensor) -> None:
        """Goes on with some of the rows alone, in their order."""
        seated = list(zip(self._benches, self._rows, strict=True))
        self._benches, self._rows = [], []
        for bench, before in seated:
            same = rows.unsqueeze(1) == before
            now = same.any(1).nonzero().squeeze(1)
            if len(now):
                bench.keep(same[now].long().argmax(1))
                self._benches.append(bench)
                self._rows.append(now)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Stores the newest token's key and value of each row, and tells what the token makes of its row.

        Args:
            query: (rows, heads, width).
            key, value: (rows, key-value heads, width).

        Returns:
            (rows, heads, width).
        """
        if len(self._benches) == 1:
            return self._benches[0].attend(layer, query, key, value)
        seen = torch.empty_like(query)
        for bench, rows in zip(self._benches, self._rows, strict=True):
            seen[rows] = bench.attend(layer, query[rows], key[rows], value[rows])
        return seen


def _benches(sizes: Sequence[int]) -> list[list[int]]:
    """Groups by what they are computed with: all of them, or those at least half as large as the largest."""
    if len(sizes) * max(sizes) <= _WASTE * sum(sizes):
        return [list(range(len(sizes)))]
    found: list[list[int]] = []
    for group in sorted(range(len(sizes)), key=lambda group: -sizes[group]):
        if not found or _WASTE * sizes[group] < sizes[found[-1][0]]:
            found.append([])
        found[-1].append(group)
    return found
