"""Attention over a prefix tree on a CPU.

A node's keys are read once by all that is below it. Each reading gives a part of a token's attention and the
logarithm of the weight that the part stands for; parts are weighed against each other (Milakov & Gimelshein
2018, arXiv 1805.02867). Going back, each part is computed again from the whole's weight (Dao et al. 2022,
arXiv 2205.14135, section 3), so that nothing of the size of tokens × tokens is ever stored.
"""

# An autograd function's arguments and gradients are untyped in torch, as are its kernels.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from maporl_cli.agents.batching import length_mask
from maporl_cli.agents.prefix_tree import WORTH_SHARING, PrefixTree

# What scaled_dot_product_attention calls on a CPU; that keeps to itself the weights that parts need. A query
# sees the keys up to its own place, those behind the last key see all.
_KERNEL: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_KERNEL_BACKWARD: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

_ALIKE = 3 / 4
"""How long a leaf is at least, of the longest that it is computed with: what it is filled up with costs as
much as its own tokens, and an agent's turns of a first and a later round differ a lot."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Nodes of about one length that nothing is below.

    Attributes:
        places: (leaves, longest), of their tokens; a shorter one is filled up with its first.
        real: (leaves, longest), False where `places` is such a filling; None if all are as long.
    """

    places: Tensor
    real: Tensor | None

    @staticmethod
    def of(stretches: Sequence[tuple[int, int]]) -> Leaves:
        """Of leaves' starts and ends."""
        first = torch.tensor([start for start, _ in stretches]).unsqueeze(1)
        real = length_mask([end - start for start, end in stretches])
        steps = torch.arange(real.shape[1]).where(real, 0)
        return Leaves(first + steps, None if bool(real.all()) else real)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a tree's nodes lie in its packed row.

    Attributes:
        branches: start, end and reach of each node that others are below.
        leaves: all others, those together that are about as long.
    """

    branches: list[tuple[int, int, int]]
    leaves: list[Leaves]

    @staticmethod
    def of(tree: PrefixTree) -> Layout:
        ends = [(node.start, node.end) for node in tree.nodes if node.reach == node.end]
        return Layout(
            [(node.start, node.end, node.reach) for node in tree.nodes if node.reach > node.end],
            [Leaves.of(stretches) for stretches in _alike(ends)],
        )


def _alike(stretches: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Stretches that are about as long together, the longest first."""
    found: list[list[tuple[int, int]]] = []
    longest = 0
    for start, end in sorted(stretches, key=lambda ends: ends[0] - ends[1]):
        length = end - start
        # A rectangle more costs each layer a call, as a node does.
        if not found or (length < _ALIKE * longest and longest - length >= WORTH_SHARING):
            found.append([])
            longest = length
        found[-1].append((start, end))
    return found


def attend(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """(tokens, heads, width): what each token makes of what it sees.

    Args:
        query: (tokens, heads, width) of the packed row.
        key, value: (tokens, key-value heads, width).
        scale: of the products of queries and keys.
    """
    return _TreeAttention.apply(query, key, value, layout, scale)  # pyright: ignore[reportReturnType]


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        seen = torch.zeros_like(query, memory_format=torch.contiguous_format)
        exact = torch.promote_types(query.dtype, torch.float32)
        weight = query.new_full(query.shape[:2], float("-inf"), dtype=exact)
        for start, end, reach in layout.branches:
            below, node = (None, slice(start, reach)), (None, slice(start, end))
            _weigh(seen[below], weight[below], *_part(query[below], key[node], value[node], scale))
        for leaves in layout.leaves:
            places, real = leaves.places, leaves.real
            part, own = _part(query[places], key[places], value[places], scale)
            if real is not None:
                places, part, own = places[real], part[real], own[real]
            so_far = seen[places], weight[places]
            _weigh(*so_far, part, own)
            seen[places], weight[places] = so_far
        ctx.save_for_backward(query, key, value, seen, weight)
        ctx.layout, ctx.scale = layout, scale
        return seen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, seen, weight = ctx.saved_tensors
        layout, (gradient,) = ctx.layout, gradients
        to_query, to_key, to_value = (
            torch.zeros_like(states, memory_format=torch.contiguous_format) for states in (query, key, value)
        )
        for start, end, reach in layout.branches:
            below, node = (None, slice(start, reach)), (None, slice(start, end))
            asking = gradient[below], query[below], key[node], value[node]
            part, to_key[node], to_value[node] = _part_backward(
                *asking, seen[below], weight[below], ctx.scale
            )
            to_query[below] += part
        for leaves in layout.leaves:
            places, real = leaves.places, leaves.real
            arriving, total = gradient[places], weight[places]
            if real is not None:
                # What only fills a row up asks nothing: its share of an infinite weight is none.
                arriving = arriving.where(real[..., None, None], 0.0)
                total = total.where(real[..., None], float("inf"))
            asking = arriving, query[places], key[places], value[places]
            found = _part_backward(*asking, seen[places], total, ctx.scale)
            if real is not None:
                places, found = places[real], [states[real] for states in found]
            to_query[places] += found[0]
            to_key[places], to_value[places] = found[1], found[2]
        return to_query, to_key, to_value, None, None


def _weigh(seen: Tensor, weight: Tensor, part: Tensor, own: Tensor) -> None:
    """Adds a part to what the same tokens have seen so far, and its weight to theirs."""
    seen.lerp_(part, torch.sigmoid(own - weight).unsqueeze(-1).to(part.dtype))
    torch.logaddexp(weight, own, out=weight)


def _part(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """What tokens make of some keys, and the logarithm of the weight of those.

    Args:
        query, key, value: (rows, tokens, heads, width).
    """
    heads_first = (states.transpose(1, 2) for states in (query, key, value))
    seen, weight = _KERNEL(*heads_first, 0.0, True, scale=scale)
    return seen.transpose(1, 2), weight.transpose(1, 2)


def _part_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, seen: Tensor, weight: Tensor, scale: float
) -> list[Tensor]:
    """The gradients of queries, keys and values; `seen` and `weight` are those of all parts together."""
    heads_first = (states.transpose(1, 2) for states in (gradient, query, key, value, seen, weight))
    found = _KERNEL_BACKWARD(*heads_first, 0.0, True, scale=scale)
    return [states.transpose(1, 2) for states in found]
