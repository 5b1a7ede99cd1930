"""The layer that predicts words against log_softmax and autograd."""

from __future__ import annotations

import pytest
import torch

from maporl_cli.agents import word_head
from maporl_cli.agents.word_head import tell


def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 6, generator=draw, dtype=torch.float64).requires_grad_()
    words = torch.randn(17, 6, generator=draw, dtype=torch.float64).requires_grad_()
    return hidden, words, torch.randint(17, (11,), generator=draw)


def written_out(
    hidden: torch.Tensor, words: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logs = (hidden @ words.T / temperature).log_softmax(-1)
    return logs.gather(1, targets.unsqueeze(1)).squeeze(1), -(logs.exp() * logs).sum(-1)


@pytest.mark.parametrize("piece", [1, 40, 17 * 11, 2**25], ids=lambda size: f"{size} logits at once")
@pytest.mark.parametrize("by", ["logprobs", "entropy", "both"])
def test_values_and_gradients(monkeypatch, piece, by):
    monkeypatch.setattr(word_head, "PIECE", piece)
    hidden, words, targets = given()
    weights = torch.linspace(-1, 2, 11, dtype=torch.float64)

    def gradients(told: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        logprobs, entropy = ((weights * part).sum() for part in told)
        loss = {"logprobs": logprobs, "entropy": entropy, "both": logprobs - 0.3 * entropy}[by]
        return torch.autograd.grad(loss, (hidden, words))

    ours, theirs = tell(hidden, words, targets, 0.7, torch.float64), written_out(hidden, words, targets, 0.7)
    for one, other in zip((*ours, *gradients(ours)), (*theirs, *gradients(theirs)), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("piece", [40, 2**25])
def test_a_frozen_matrix_gets_no_gradient(monkeypatch, piece):
    monkeypatch.setattr(word_head, "PIECE", piece)
    hidden, words, targets = given()
    tell(hidden, words.detach(), targets, 1.0, torch.float64)[0].sum().backward()
    assert hidden.grad is not None
    expected = torch.autograd.grad(written_out(hidden, words, targets, 1.0)[0].sum(), hidden)[0]
    assert torch.allclose(hidden.grad, expected)


def test_half_precision_is_lifted_for_the_softmax():
    hidden, words, targets = given()
    logprobs, entropy = tell(hidden.float(), words.float(), targets, 1.0, torch.bfloat16)
    assert (logprobs.dtype, entropy.dtype) == (torch.float32, torch.float32)
    products = hidden.bfloat16() @ words.bfloat16().T
    expected = products.float().log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1)
    assert torch.allclose(logprobs, expected, atol=1e-6)
