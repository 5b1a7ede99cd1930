"""Rows that are written on, in groups of about the same size: a trunk for each group, and each row's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from maporl_cli.agents.batching import length_mask, pad_left, pad_right

Stored = tuple[Tensor, Tensor]
"""Keys and values of a layer."""


class Bench:
    """The keys and values of some rows.

    Args:
        trunks: of each group, the places of what its rows begin with, in the packed row that was read.
        groups: each row's.
        own: of each row, the places of what comes after its trunk.
        room: tokens that may follow in each row.
        scale: of the products of queries and keys.
        like: a tensor whose dtype and device the keys have.
        still: every token reads all places that there is room for, so that each does the same work on the
            same tensors (`replay`); else those alone that are filled.
    """

    def __init__(
        self,
        trunks: Sequence[Sequence[int]],
        groups: Sequence[int],
        own: Sequence[Sequence[int]],
        room: int,
        scale: float,
        like: Tensor,
        *,
        still: bool,
    ) -> None:
        self._device, self._scale, self._room = like.device, scale, room
        self._trunk_places = pad_right(trunks, 0, torch.long).to(like.device)
        self._trunk_gaps = ~length_mask([len(trunk) for trunk in trunks], like.device)
        aligned = pad_left(own, 0, like.device)
        self._own_places, self._own_gaps = aligned.ids, aligned.mask == 0
        self._trunk_mask = _mask(self._trunk_gaps, 0, like.dtype)
        self._own_mask = _mask(self._own_gaps, room, like.dtype, room_absent=still)
        self._still = still
        filled = self._own_places.shape[1]
        self._read = filled + room if still else filled
        """How many of a row's own places a token reads."""
        self._newest = torch.tensor([filled - 1], device=like.device)
        """The place of the newest token."""
        self._trunks: list[Stored] = []
        self._own: list[Stored] = []
        self._seat(groups)

    def take(self, key: Tensor, value: Tensor) -> None:
        """A layer's keys and values, (tokens, key-value heads, width), of the packed row that was read."""
        trunk = [_gathered(states, self._trunk_places, self._trunk_gaps) for states in (key, value)]
        # (groups, key-value heads, width, longest) and (groups, key-value heads, longest, width)
        self._trunks.append(
            (trunk[0].permute(0, 2, 3, 1).contiguous(), trunk[1].transpose(1, 2).contiguous())
        )
        own = [_gathered(states, self._own_places, self._own_gaps) for states in (key, value)]
        self._own.append((_with_room(own[0], self._room), _with_room(own[1], self._room)))

    def begin(self) -> None:
        """Makes place for one more token in each row."""
        self._newest += 1
        if not self._still:
            self._read += 1
        elif self._own_mask is not None:
            self._own_mask.index_fill_(3, self._newest, 0.0)

    def keep(self, rows: Tensor) -> None:
        """Goes on with some of the rows alone, in their order."""
        groups = self._groups[rows]
        left, groups = groups.unique(return_inverse=True)
        if len(left) < len(self._trunks[0][0]):
            _keep(self._trunks, left)
            self._trunk_mask = None if self._trunk_mask is None else self._trunk_mask[left]
        _keep(self._own, rows)
        self._own_mask = None if self._own_mask is None else self._own_mask[rows]
        self._seat(groups.tolist())

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Stores the newest token's key and value of each row, and tells what the token makes of its row.

        Args:
            query: (rows, heads, width).
            key, value: (rows, key-value heads, width).

        Returns:
            (rows, heads, width).
        """
        rows, heads, width = query.shape
        kept = key.shape[1]
        for part, newest in zip(self._own[layer], (key, value), strict=True):
            part.index_copy_(2, self._newest, newest.unsqueeze(2))
        own_key, own_value = (part[:, :, : self._read] for part in self._own[layer])
        trunk_key, trunk_value = self._trunks[layer]
        asking = (query * self._scale).view(rows, kept, heads // kept, width)
        on_trunk = self._at_rows(_plus(self._at_seats(asking) @ trunk_key, self._trunk_mask))
        own_mask = None if self._own_mask is None else self._own_mask[..., : self._read]
        on_own = _plus(asking @ own_key.transpose(2, 3), own_mask)
        weights = torch.cat([on_trunk, on_own], -1)
        weights = weights.softmax(-1, dtype=torch.promote_types(weights.dtype, torch.float32)).to(value.dtype)
        by_trunk, by_own = weights.split([trunk_key.shape[-1], self._read], -1)
        seen = self._at_rows(self._at_seats(by_trunk) @ trunk_value) + by_own @ own_value
        return seen.flatten(1, 2)

    def _seat(self, groups: Sequence[int]) -> None:
        """Gives each row a seat in its group; all groups have as many, and seats left over repeat a row."""
        members: list[list[int]] = [[] for _ in range(max(groups) + 1)]
        for row, group in enumerate(groups):
            members[group].append(row)
        most = max(map(len, members))
        seat = {row: group * most + n for group, rows in enumerate(members) for n, row in enumerate(rows)}
        self._groups = torch.tensor(groups, device=self._device)
        self._seats = torch.tensor(
            [[*rows, *[rows[0]] * (most - len(rows))] for rows in members], device=self._device
        )
        self._seat_of = torch.tensor([seat[row] for row in range(len(groups))], device=self._device)
        self._in_order = self._seats.flatten().tolist() == list(range(len(groups)))
        """Whether the rows sit as they come, so that none is to be fetched."""

    def _at_seats(self, values: Tensor) -> Tensor:
        """From (rows, key-value heads, repeats, …) to (groups, key-value heads, seats · repeats, …)."""
        seated = values.unflatten(0, self._seats.shape) if self._in_order else values[self._seats]
        return seated.transpose(1, 2).flatten(2, 3)

    def _at_rows(self, values: Tensor) -> Tensor:
        """Back again."""
        seated = values.unflatten(2, (self._seats.shape[1], -1)).transpose(1, 2).flatten(0, 1)
        return seated if self._in_order else seated[self._seat_of]


def _gathered(states: Tensor, places: Tensor, gaps: Tensor) -> Tensor:
    """(rows, longest, key-value heads, width); zero in gaps: no weight makes up for what is not finite."""
    return states[places].masked_fill_(gaps[..., None, None], 0.0)


def _keep(stored: list[Stored], rows: Tensor) -> None:
    """Layer by layer, so that no more than one is there twice."""
    for layer, (key, value) in enumerate(stored):
        stored[layer] = key[rows], value[rows]


def _mask(absent: Tensor, room: int, dtype: torch.dtype, *, room_absent: bool = False) -> Tensor | None:
    """(rows, 1, 1, longest + room), added to products: what is absent weighs nothing."""
    absent = functional.pad(absent, (0, room), value=room_absent)
    if not bool(absent.any()):
        return None
    mask = torch.zeros(absent.shape, dtype=dtype, device=absent.device)
    return mask.masked_fill_(absent, float("-inf"))[:, None, None]


def _plus(products: Tensor, mask: Tensor | None) -> Tensor:
    return products if mask is None else products.add_(mask)


def _with_room(states: Tensor, room: int) -> Tensor:
    """(rows, key-value heads, tokens + room, width) from (rows, tokens, key-value heads, width)."""
    rows, tokens, heads, width = states.shape
    # Not empty: no weight makes up for what is not finite there.
    found = states.new_zeros(rows, heads, tokens + room, width)
    found[:, :, :tokens] = states.transpose(1, 2)
    return found
