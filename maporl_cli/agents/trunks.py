"""Which beginnings of rows that are written on are stored once for several of them."""

from __future__ import annotations

from functools import cache

from maporl_cli.agents.prefix_tree import PrefixTree


def trunks_of(tree: PrefixTree) -> tuple[list[list[int]], list[int]]:
    """Groups of a tree's rows, such that storing each group's common beginning once saves the most tokens.

    Returns:
        the places of each group's common beginning, its trunk, and each row's group. A trunk may be empty:
        the rows that nothing is gained for are a group too.
    """
    lengths = [tree.positions[node.end - 1] + 1 for node in tree.nodes]
    ending, below = [0] * len(tree.nodes), [list[int]() for _ in tree.nodes]
    for leaf in tree.leaves:
        ending[leaf] += 1
    for index, node in enumerate(tree.nodes):
        if node.parent is not None:
            below[node.parent].append(index)

    @cache
    def saved(index: int, above: int) -> tuple[int, bool]:
        """The most tokens that a node's rows save where a trunk of `above` tokens ends before it, and whether
        another trunk ends at the node for that."""
        ways = ((lengths[index], lengths[index], True), (above, 0, False))
        return max(
            (stored * ending[index] - cost + sum(saved(other, stored)[0] for other in below[index]), here)
            for stored, cost, here in ways
        )

    trunk_of: list[int | None] = []
    """The node that the trunk of what is at or below a node ends at."""
    for index, node in enumerate(tree.nodes):
        before = None if node.parent is None else trunk_of[node.parent]
        _, here = saved(index, 0 if before is None else lengths[before])
        trunk_of.append(index if here else before)
    ends = [trunk_of[leaf] for leaf in tree.leaves]
    number = {end: group for group, end in enumerate(dict.fromkeys(ends))}
    trunks = [[] if end is None else tree.stretch(end) for end in number]
    return trunks, [number[end] for end in ends]
