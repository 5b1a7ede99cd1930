"""Rectangular tensors from ragged token lists, with masks that come from lengths alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Padded:
    """Token ids in a rectangle.

    Attributes:
        ids: (rows, length).
        mask: (rows, length), 1 where a token is real. Never derived from the ids: pad may equal
            the end-of-turn id.
        positions: (rows, length), counted from each row's first real token.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor


def pad_left(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> Padded:
    """Rows of different lengths, aligned at their ends, as generation needs them."""
    length = max(len(row) for row in rows)
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.tensor([[pad_id] * (length - len(row)) + list(row) for row in rows], dtype=torch.long)
    offset = torch.arange(length).unsqueeze(0) - (length - lengths).unsqueeze(1)
    return Padded(ids.to(device), (offset >= 0).long().to(device), offset.clamp(min=0).to(device))


def length_mask(lengths: Sequence[int], device: torch.device | None = None) -> Tensor:
    """(rows, longest) of bool: True at the first `lengths[i]` places of row i."""
    counts = torch.tensor(lengths, device=device)
    return torch.arange(max(lengths), device=device).unsqueeze(0) < counts.unsqueeze(1)


def pad_right(rows: Sequence[Sequence[float]], fill: float, dtype: torch.dtype) -> Tensor:
    """(rows, longest): rows of different lengths aligned at their starts."""
    length = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (length - len(row))] for row in rows], dtype=dtype)
