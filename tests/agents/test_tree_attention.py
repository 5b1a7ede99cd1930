"""Attention over a tree against the same attention with every product written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maporl_cli.agents.prefix_tree import PrefixTree, prefix_tree
from maporl_cli.agents.tree_attention import InRectangles, tree_attention
from maporl_cli.agents.tree_attention_cpu import Layout

CPU = torch.device("cpu")
LONG = [(*start, *range(10, 10 + length)) for start in ((1, 2), (3,)) for length in (40, 44, 90)]
"""Leaves that are computed apart, since their lengths differ a lot."""
ROWS = [(1, 2, 3, 4), (1, 2, 3, 5, 6, 7), (1, 2, 3, 5, 6, 8, 9), (7, 8), (7,), (9, 9, 9)]


def states(tree: PrefixTree, heads: int, kept: int, seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = [(len(tree.ids), count, 5) for count in (heads, kept, kept)]
    return [torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]


def written_out(
    tree: PrefixTree, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """A token sees those before it in some row that it is part of, and itself."""
    sees = torch.zeros(len(tree.ids), len(tree.ids), dtype=torch.bool)
    for row in range(len(tree.leaves)):
        places = tree.places(row)
        for last, place in enumerate(places):
            sees[place, places[: last + 1]] = True
    repeats = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(repeats, 1) for part in (key, value))
    products = torch.einsum("qhd,khd->hqk", query, key) * 0.7
    weights = products.masked_fill(~sees, float("-inf")).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


WAYS = (tree_attention, InRectangles)
"""That of this machine, and that of every other device."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("heads", "kept"), [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize(
    "rows", [ROWS, [*LONG, *ROWS], [(1, 2, 3)], [(1, 2), (3, 4)], [(1, 2, 3), (1, 2, 4)]], ids=len
)
def test_what_is_seen_and_its_gradients(rows, heads, kept, way):
    tree = prefix_tree(rows, worth_sharing=1)
    given_ = states(tree, heads, kept)
    ours = way(tree, CPU, 0.7)(*given_)
    theirs = written_out(tree, *given_)
    assert torch.allclose(ours, theirs, atol=1e-12)
    weight = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, expected = (torch.autograd.grad((seen * weight).sum(), given_) for seen in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@given(
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=8).map(tuple), min_size=1, max_size=8),
    st.integers(1, 3),
)
@settings(max_examples=40)
def test_any_tree(way, rows, worth_sharing):
    tree = prefix_tree(rows, worth_sharing)
    given_ = states(tree, 2, 1)
    ours, theirs = way(tree, CPU, 0.7)(*given_), written_out(tree, *given_)
    assert torch.allclose(ours, theirs, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(ours.square().sum(), given_),
        torch.autograd.grad(theirs.square().sum(), given_),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-11)


def test_a_long_filled_up_row_beside_a_peaked_one_stays_finite():
    """The products of a filling with what follows it may be of any size: here e^1000 times its own sum."""
    tree = prefix_tree([(1,), (2, 3, 4)])
    query, key, value = (part.detach().float() for part in states(tree, 1, 1))
    key[0], query[0] = -60.0, 60.0
    key.requires_grad_()
    tree_attention(tree, CPU, 1.0)(query.requires_grad_(), key, value.requires_grad_()).sum().backward()
    assert all(bool(part.grad is not None and part.grad.isfinite().all()) for part in (query, key, value))


def test_leaves_of_unlike_lengths_are_computed_apart():
    rows = [(0, *[row] * length) for row, length in enumerate((100, 80, 70, 12, 11, 5), start=1)]
    leaves = Layout.of(prefix_tree(rows, worth_sharing=1)).leaves
    assert [tuple(each.places.shape) for each in leaves] == [(2, 100), (1, 70), (3, 12)]


def test_nodes_of_one_size_are_one_call():
    questions = [tuple(range(start, start + 20)) for start in (100, 200)]
    rows = [(*question, *[1 + said] * 10) for question in questions for said in range(3)]
    calls = InRectangles(prefix_tree([*rows, tuple(range(90))]), CPU, 1.0)._rectangles
    assert [tuple(call._askers.shape) for call in calls] == [(1, 90), (2, 20), (6, 10)]
    assert [call._seen.shape[1] for call in calls] == [96, 32, 32]  # multiples of 16
