"""Leaves of a tree that differ a lot in length."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from maporl_cli.agents.prefix_tree import prefix_tree
from maporl_cli.agents.tree_attention import Layout, attend

CPU = torch.device("cpu")


def test_leaves_of_unlike_lengths_are_computed_apart():
    rows = [(0, *[row] * length) for row, length in enumerate((100, 80, 70, 12, 11, 5), start=1)]
    leaves = Layout.of(prefix_tree(rows, worth_sharing=1), CPU).leaves
    assert [tuple(each.places.shape) for each in leaves] == [(2, 100), (1, 70), (3, 12)]


def test_rows_of_unlike_lengths_see_what_they_would_see_alone():
    questions = [tuple(range(start, start + 20)) for start in (0, 100)]
    rows = [
        (*question, *range(1000 * (number + 1), 1000 * (number + 1) + length))
        for question in questions
        for number, length in enumerate((0, 5, 40, 44, 90))
    ]
    tree = prefix_tree(rows)
    generator = torch.Generator().manual_seed(0)
    shapes = ((len(tree.ids), heads, 8) for heads in (4, 2, 2))
    states = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    together = [each.clone().requires_grad_() for each in states]
    alone = [each.clone().requires_grad_() for each in states]
    seen = attend(*together, Layout.of(tree, CPU), 0.3)
    weights = torch.randn(seen.shape, generator=generator, dtype=torch.float64)
    total = seen.new_zeros(())
    for row in range(len(rows)):
        places = tree.places(row)
        query, key, value = (each[places].transpose(0, 1) for each in alone)
        own = scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
        own = own.transpose(0, 1)
        torch.testing.assert_close(seen[places], own)
        total = total + (own * weights[places]).sum()
    # A place that several rows share counts in each of them.
    counts = torch.zeros(len(tree.ids), dtype=torch.float64)
    for row in range(len(rows)):
        counts[tree.places(row)] += 1
    (seen * weights * counts[:, None, None]).sum().backward()
    total.backward()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
