"""Drawing completions a token at a time, with one keyed stream of random numbers a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maporl_cli.agents.forward import Forward, Rows
from maporl_cli.agents.policy import Sample

_WORTH_LEAVING = 3 / 4
"""Rows that have ended leave the batch when no more than this share goes on: each time what has been read
of the others is copied."""


def choose(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """The token each row draws, by inverse CDF; rows whose uniform is NaN take the most likely one.

    Args:
        logprobs: (rows, vocabulary), nats.
        uniforms: (rows,) in [0, 1), or NaN for greedy.

    Returns:
        (rows,) token ids. Sums run in float64, so that a vocabulary of 150,000 tokens keeps its tail.
    """
    cumulative = logprobs.exp().cumsum(-1, dtype=torch.float64)
    target = (uniforms.nan_to_num() * cumulative[:, -1]).unsqueeze(1)
    # `right=True`: the first token whose cumulative mass exceeds the target, so that a token of
    # probability zero is never drawn, not even by a uniform of exactly 0.
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logprobs.shape[1] - 1)
    return torch.where(uniforms.isnan(), logprobs.argmax(-1), drawn)


@torch.no_grad()
def generate(
    forward: Forward,
    prompts: Rows,
    generators: Sequence[np.random.Generator | None],
    *,
    eos_ids: frozenset[int],
    max_new_tokens: int,
    temperature: float,
) -> list[Sample]:
    """One completion a prompt, drawn at `temperature`.

    There is no top-p and no top-k: what is sampled is what is trained.
    """
    reading = forward.read(prompts, max_new_tokens)
    device = reading.logits.device
    # A generator's numbers are drawn at once: token t of a turn always uses the t-th of them.
    uniforms = torch.tensor(
        np.stack([_uniforms(generator, max_new_tokens) for generator in generators]), device=device
    )
    stops = torch.tensor(sorted(eos_ids), device=device)
    rows = np.arange(len(prompts))
    """Which of the prompts the rows still in the batch are."""
    drawn: list[list[int]] = [[] for _ in prompts]
    logs: list[list[float]] = [[] for _ in prompts]
    finished = np.zeros(len(prompts), dtype=bool)
    for t in range(max_new_tokens):
        logprobs = (reading.logits.float() / temperature).log_softmax(-1)
        tokens = choose(logprobs, uniforms[:, t])
        said = logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1).tolist()
        for row, token, log in zip(rows, tokens.tolist(), said, strict=True):
            if not finished[row]:
                drawn[row].append(token)
                logs[row].append(log)
        finished[rows] |= torch.isin(tokens, stops).cpu().numpy()
        going = np.flatnonzero(~finished[rows])
        if t + 1 == max_new_tokens or not going.size:
            break
        left = None
        if going.size <= _WORTH_LEAVING * len(rows):
            left = torch.tensor(going, device=device)
            rows, tokens, uniforms = rows[going], tokens[left], uniforms[left]
        reading.go_on(tokens, left)
    return [
        Sample(tuple(ids), tuple(own), bool(ended))
        for ids, own, ended in zip(drawn, logs, finished, strict=True)
    ]


def _uniforms(generator: np.random.Generator | None, count: int) -> np.ndarray:
    return np.full(count, np.nan) if generator is None else generator.random(count)
