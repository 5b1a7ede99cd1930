"""The layer that predicts words, at chosen places alone, and in pieces where a pass has many."""

# An autograd function's arguments and gradients are untyped in torch.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

PIECE = 2**25
"""Logits that are computed at once. Where a pass has no more, their softmax stays for the backward pass; else
each piece is computed again there."""


def logits(hidden: Tensor, words: Tensor) -> Tensor:
    """(places, vocabulary), in the dtype of `words`.

    Args:
        hidden: (places, width).
        words: (vocabulary, width).
    """
    # Autocast keeps its copy of a parameter from one call to the next, not that of a parameter's transpose.
    return functional.linear(hidden.to(words.dtype), words)


def tell(
    hidden: Tensor, words: Tensor, targets: Tensor, temperature: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Each target's log-probability, nats, and the entropy of the distribution that it is one of.

    Args:
        hidden: (places, width).
        words: (vocabulary, width).
        targets: (places,) token ids.
        dtype: of the matrix products; the softmax is taken in fp32 at least.

    Returns:
        two of (places,), with gradient.
    """
    return _WordHead.apply(hidden, words, targets, temperature, dtype)  # pyright: ignore[reportReturnType]


class _WordHead(torch.autograd.Function):
    """With z = logits / temperature, p = softmax(z) and H its entropy: ∂ log p_t / ∂z = 1_t − p and
    ∂H / ∂z = −p · (log p + H)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, words: Tensor, targets: Tensor, temperature: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        cast = words.to(dtype)
        logprobs = hidden.new_empty(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32))
        entropy = torch.empty_like(logprobs)
        parts = pieces(len(hidden), len(words))
        kept: list[Tensor] = []
        for piece in parts:
            logs = _log_softmax(hidden[piece], cast, temperature)
            logprobs[piece] = logs.gather(1, targets[piece].unsqueeze(1)).squeeze(1)
            # No product of vectors: autocast would take it in half precision.
            entropy[piece] = -logs.exp().mul_(logs).sum(-1)
            if len(parts) == 1 and any(ctx.needs_input_grad):
                kept = [logs]
            del logs  # else the next piece is computed beside it
        ctx.save_for_backward(hidden, words, targets, entropy, *kept)
        ctx.temperature, ctx.dtype = temperature, dtype
        ctx.set_materialize_grads(False)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, words, targets, entropy, *kept = ctx.saved_tensors
        by_logprob, by_entropy = gradients
        cast = words.to(ctx.dtype)
        to_hidden = torch.empty_like(hidden)
        to_words: Tensor | None = None
        for piece in pieces(len(hidden), len(words)):
            logs = kept[0] if kept else _log_softmax(hidden[piece], cast, ctx.temperature)
            push = torch.zeros_like(entropy[piece]) if by_logprob is None else by_logprob[piece]
            push = push.unsqueeze(1)
            if by_entropy is None:
                change = logs.exp().mul_(-push)
            else:
                pull = by_entropy[piece].unsqueeze(1)
                change = torch.addcmul(push + pull * entropy[piece].unsqueeze(1), pull, logs)
                change = change.neg_().mul_(logs.exp())
            change.scatter_add_(1, targets[piece].unsqueeze(1), push)
            change = change.div_(ctx.temperature).to(ctx.dtype)
            to_hidden[piece] = change @ cast
            if ctx.needs_input_grad[1]:
                part = change.T @ hidden[piece].to(ctx.dtype)
                to_words = _plus(to_words, part.to(words.dtype))
                del part
            del logs, change
        return to_hidden, to_words, None, None, None


def _log_softmax(hidden: Tensor, words: Tensor, temperature: float) -> Tensor:
    found = logits(hidden, words)
    found = found.to(torch.promote_types(found.dtype, torch.float32)).div_(temperature)
    return found.log_softmax(-1)


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)


def pieces(places: int, words: int) -> list[slice]:
    """Of about the same length, each of at most `PIECE` logits."""
    count = max(1, -(-places * words // PIECE))
    size = max(1, -(-places // count))
    return [slice(start, start + size) for start in range(0, places, size)]
