"""Attention over a prefix tree: each token sees its own node up to itself, and all of the nodes before it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from maporl_cli.agents.prefix_tree import PrefixTree
from maporl_cli.agents.tree_attention_cpu import Layout, attend

TreeAttention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries (tokens, heads, width), keys and values (tokens, key-value heads, width) of a packed row
to what each token makes of what it sees, as the queries."""


def tree_attention(tree: PrefixTree, device: torch.device, scale: float) -> TreeAttention:
    """Attention over a tree, for all layers of a pass.

    Args:
        scale: of the products of queries and keys.
    """
    if device.type == "cpu":
        layout = Layout.of(tree)
        return lambda query, key, value: attend(query, key, value, layout, scale)
    return NodeByNode(tree, device, scale)


class NodeByNode:
    """One call of torch's own attention a node; the keys of the nodes before it are copied for each."""

    def __init__(self, tree: PrefixTree, device: torch.device, scale: float) -> None:
        self._scale = scale
        self._nodes: list[tuple[slice, Tensor, Tensor]] = []
        """A node's tokens, the places of all that they may see, and which of those each of them does."""
        for index, node in enumerate(tree.nodes):
            places = torch.tensor(tree.stretch(index), device=device)
            own = node.end - node.start
            sees = torch.ones(own, len(places), dtype=torch.bool, device=device)
            self._nodes.append((slice(node.start, node.end), places, sees.tril(len(places) - own)))

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        repeats = query.shape[1] // key.shape[1]
        parts = [
            scaled_dot_product_attention(
                query[node].transpose(0, 1).unsqueeze(0),
                *(
                    states[places].repeat_interleave(repeats, 1).transpose(0, 1).unsqueeze(0)
                    for states in (key, value)
                ),
                attn_mask=sees,
                scale=self._scale,
            )[0].transpose(0, 1)
            for node, places, sees in self._nodes
        ]
        return torch.cat(parts)
