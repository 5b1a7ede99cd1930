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
        self._masks: list[Tensor] = []
        """Each rectangle's, which all layers share; made when their dtype is known."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if not self._masks:
            self._masks = [rectangle.mask(query.dtype) for rectangle in self._rectangles]
        parts = [
            rectangle.attend(query, key, value, mask)
            for rectangle, mask in zip(self._rectangles, self._masks, strict=True)
        ]
        return torch.cat(parts).index_select(0, self._place_of)


class _Rectangle:
    """Nodes of about one size, a row each, filled up to the longest.

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
        askers = [_filled(places[-ours:], self.longest) for ours, places in zip(own, seen, strict=True)]
        last = [
            _filled(range(len(places) - ours, len(places)), self.longest)
            for ours, places in zip(own, seen, strict=True)
        ]
        self._scale = scale
        self._askers = torch.tensor(askers, device=device)
        self._seen = torch.tensor([_filled(places, width) for places in seen], device=device)
        self._last = torch.tensor(last, device=device)
        """Of what each asker's row sees, the last that it does itself."""

    def mask(self, dtype: torch.dtype) -> Tensor:
        """(rows, 1, longest, keys), added to products: what is not seen weighs nothing."""
        hidden = torch.arange(self._seen.shape[1], device=self._last.device) > self._last.unsqueeze(-1)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        return mask.masked_fill_(hidden, float("-inf")).unsqueeze(1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """(rows · longest, heads, width)."""
        asking = query.index_select(0, self._askers.flatten()).unflatten(0, self._askers.shape)
        # Many rows see a place: an index sums their gradients in fp32, which `index_select` does not.
        key, value = (states[self._seen] for states in (key, value))
        if (repeats := asking.shape[2] // key.shape[2]) > 1:
            key, value = (states.repeat_interleave(repeats, 2) for states in (key, value))
        heads_first = (states.transpose(1, 2) for states in (asking, key, value))
        found = scaled_dot_product_attention(*heads_first, attn_mask=mask, scale=self._scale)
        return found.transpose(1, 2).flatten(0, 1)


def _filled(places: Sequence[int], length: int) -> list[int]:
    """Filled up by going round: the gradients of one place alone would be summed one after the other."""
    return [places[n % len(places)] for n in range(length)]


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
