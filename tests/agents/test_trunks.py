"""What rows that are written on share is stored once, and no other way to store it takes less."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.agents.prefix_tree import PrefixTree, prefix_tree
from maporl_cli.agents.trunks import trunks_of

worth = st.integers(1, 4)


def stored(tree: PrefixTree, trunks: list[list[int]], groups: list[int]) -> int:
    own = sum(len(tree.places(row)) - len(trunks[group]) for row, group in enumerate(groups))
    return own + sum(map(len, trunks))


def every_choice(tree: PrefixTree) -> list[int]:
    """Tokens stored, for each way to have each row's trunk end at a node of the row, or nowhere."""
    paths = [ending_before(tree, leaf) for leaf in tree.leaves]
    whole = sum(len(tree.places(row)) for row in range(len(tree.leaves)))
    found: list[int] = []
    for choice in product(*paths):
        length = {end: 0 if end is None else len(tree.stretch(end)) for end in choice}
        found.append(whole - sum(length[end] for end in choice) + sum(length.values()))
    return found


def ending_before(tree: PrefixTree, leaf: int) -> list[int | None]:
    parent = tree.nodes[leaf].parent
    return [leaf, *([None] if parent is None else ending_before(tree, parent))]


@given(
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6).map(tuple), min_size=1, max_size=5), worth
)
def test_trunks_are_common_beginnings_and_no_choice_of_them_stores_less(given_rows, worth_sharing):
    tree = prefix_tree(given_rows, worth_sharing)
    trunks, groups = trunks_of(tree)
    assert sorted(set(groups)) == list(range(len(trunks)))
    for row, group in enumerate(groups):
        assert tree.places(row)[: len(trunks[group])] == trunks[group]
    assert stored(tree, trunks, groups) == min(every_choice(tree))


@pytest.mark.parametrize("own", [0, 3])
def test_a_group_of_equal_questions_has_one_trunk(own):
    question, other = tuple(range(20)), tuple(range(50, 70))
    given_rows = [(*each, *[90 + row] * own) for each in (question, other) for row in range(4)]
    trunks, groups = trunks_of(prefix_tree(given_rows))
    assert groups == [0] * 4 + [1] * 4
    assert [len(trunk) for trunk in trunks] == [20, 20]
