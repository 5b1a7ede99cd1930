"""Attention over a prefix tree: what each token makes of itself and of those before it in its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from maporl_cli.agents.prefix_tree import PrefixTree
from maporl_cli.agents.tree_attention_cpu import Layout, attend

TreeAttention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries (tokens, heads, width), keys and values (tokens, key-value heads, width) of a packed row
to what each token makes of what it sees, as the queries."""

_FILLED = 3 / 4
"""How much of a rectangle its smallest node fills at least."""
_ALIGNED = 16
"""Keys of a rectangle are a multiple of it, as torch's kernels want their masks."""


def tree_attention(tree: PrefixTree, device: torch.device, scale: float) -> TreeAttention:
    """Attention over a tree, for all layers of a pass.

    Args:
        scale: of the products of queries and keys.
    """
    if device.type == "cpu":
        layout = Layout.of(tree)
        return lambda query, key, value: attend(query, key, value, layout, scale)
    return InRectangles(tree, device, scale)


class InRectangles:
    """torch's own attention, a call for nodes of about one size; the keys before them are copied for each."""

    def __init__(self, tree: PrefixTree, device: torch.device, scale: float) -> None:
        own = [node.end - node.start for node in tree.nodes]
        seen = [tree.stretch(index) for index in range(len(own))]
        self._rectangles: list[_Rectangle] = []
        place_of = [0] * len(tree.ids)
        done = 0
        for together in _alike([(ours, len(places)) for ours, places in zip(own, seen, strict=True)]):
            rectangle = _Rectangle([own[n] for n in together], [seen[n] for n in together], device, scale)
            self._rectangles.append(rectangle)
            for row, index in enumerate(together):
                node, first = tree.nodes[index], done + row * rectangle.longest
                place_of[node.start : node.end] = range(first, first + own[index])
            done += len(together) * rectangle.longest
        self._place_of = torch.tensor(place_of, device=device)
        """Where each token of the packed row is in the rectangles, one after the other."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = [rectangle.attend(query, key, value) for rectangle in self._rectangles]
        return torch.cat(parts).index_select(0, self._place_of)


class _Rectangle:
    """
    Args:
        own: how many tokens each node has.
        seen: of each, the places of all that its tokens may see, up to the last of its own.
    """

    def __init__(
        self, own: Sequence[int], seen: Sequence[Sequence[int]], device: torch.device, scale: float
    ) -> None:
        self.longest = max(own)
        width = -(-max(map(len, seen)) // _ALIGNED) * _ALIGNED
        # What fills a row up is of that row: what is not finite spreads to no other.
        asking = [_filled(places[-ours:], self.longest) for ours, places in zip(own, seen, strict=True)]
        last = [
            _filled(range(len(places) - ours, len(places)), self.longest)
            for ours, places in zip(own, seen, strict=True)
        ]
        self._asking = torch.tensor(asking, device=device)
        self._seen = torch.tensor([_filled(places, width) for places in seen], device=device)
        hidden = torch.arange(width, device=device) > torch.tensor(last, device=device).unsqueeze(-1)
        mask = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, float("-inf"))
        self._mask = mask.unsqueeze(1)
        self._scale = scale

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(rows · longest, heads, width)."""
        self._mask = self._mask.to(query.dtype)  # once for all layers, which keep it for going back
        repeats = query.shape[1] // key.shape[1]
        asking = query.index_select(0, self._asking.flatten()).unflatten(0, self._asking.shape)
        # Many rows see a place. An index gathers its gradient in one order always, `index_select` in any.
        key, value = (states[self._seen].repeat_interleave(repeats, 2) for states in (key, value))
        heads_first = (states.transpose(1, 2) for states in (asking, key, value))
        seen = scaled_dot_product_attention(*heads_first, attn_mask=self._mask, scale=self._scale)
        return seen.transpose(1, 2).flatten(0, 1)


def _filled(places: Sequence[int], length: int) -> list[int]:
    return [*places, *[places[0]] * (length - len(places))]


def _alike(sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Nodes, by their queries and keys, such that each fills most of a rectangle around those it is with."""
    found: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index][0] * sizes[index][1], index)):
        for together in found:
            queries, keys = (max(sizes[other][side] for other in (*together, index)) for side in (0, 1))
            # It is the smallest so far.
            if sizes[index][0] * sizes[index][1] >= _FILLED * queries * keys:
                together.append(index)
                break
        else:
            found.append([index])
    return found
