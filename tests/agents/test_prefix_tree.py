"""Rows as a tree: nothing is lost, and nothing is there twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.agents.prefix_tree import Node, prefix_tree

rows = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple), min_size=1, max_size=9)
worth = st.integers(1, 4)


def test_two_groups_by_hand():
    found = prefix_tree([(1, 2, 3, 4), (1, 2, 3, 5, 6), (7, 8), (1, 2, 3, 4)], worth_sharing=2)
    assert found.ids == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found.positions == [0, 1, 2, 3, 3, 4, 0, 1]
    assert found.nodes == [Node(0, 3, 6, None), Node(3, 4, 4, 0), Node(4, 6, 6, 0), Node(6, 8, 8, None)]
    assert found.leaves == [1, 2, 3, 1]
    assert found.places(1) == [0, 1, 2, 4, 5]


def test_a_row_may_be_what_another_begins_with():
    found = prefix_tree([(1, 2), (1, 2, 3)], worth_sharing=2)
    assert found.nodes == [Node(0, 2, 3, None), Node(2, 3, 3, 0)]
    assert found.leaves == [0, 1]


def test_a_beginning_that_is_not_worth_it_is_in_each_row():
    found = prefix_tree([(1, 2, 3), (1, 2, 4)], worth_sharing=3)
    assert found.ids == [1, 2, 3, 1, 2, 4]
    assert [node.parent for node in found.nodes] == [None, None]


def test_what_is_not_worth_it_above_may_be_below():
    """One token is shared by all three rows, three by two of them."""
    found = prefix_tree([(1, 2, 3, 4), (1, 2, 3, 5), (1, 9)], worth_sharing=2)
    assert found.ids == [1, 2, 3, 4, 5, 1, 9]


@given(rows, worth)
def test_a_row_is_its_nodes(given_rows, worth_sharing):
    found = prefix_tree(given_rows, worth_sharing)
    for number, row in enumerate(given_rows):
        places = found.places(number)
        assert tuple(found.ids[place] for place in places) == row
        assert [found.positions[place] for place in places] == list(range(len(row)))


@given(rows, worth)
def test_nodes_lie_depth_first_without_gaps(given_rows, worth_sharing):
    nodes = prefix_tree(given_rows, worth_sharing).nodes
    assert [node.start for node in nodes] == [0, *(node.end for node in nodes)][: len(nodes)]
    for index, node in enumerate(nodes):
        below = [other for other in nodes if node.end <= other.start < node.reach]
        assert node.start < node.end <= node.reach
        assert max([node.end, *(other.end for other in below)]) == node.reach
        assert node.parent is None or nodes[node.parent].start < node.start < nodes[node.parent].reach
        assert all(other.parent is not None and other.parent >= index for other in below)


@given(rows)
def test_with_every_token_worth_it_no_beginning_is_there_twice(given_rows):
    found = prefix_tree(given_rows, worth_sharing=1)
    beginnings = {row[:length] for row in given_rows for length in range(1, len(row) + 1)}
    assert len(found.ids) == len(beginnings)
