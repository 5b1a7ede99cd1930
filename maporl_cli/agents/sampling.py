"""Decoding with a key-value cache, one keyed stream of random numbers a row.

Identical prompts (a group at the same state) are read once and their cache is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from maporl_cli.agents.batching import pad_left
from maporl_cli.agents.policy import Sample


def choose(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """The token each row draws, by inverse CDF; rows whose uniform is NaN take the most likely one.

    Args:
        logprobs: (rows, vocabulary), nats.
        uniforms: (rows,) in [0, 1), or NaN for greedy.

    Returns:
        (rows,) token ids. Sums run in float64, so that a vocabulary of 150,000 tokens keeps its tail.
    """
    cumulative = logprobs.double().exp().cumsum(-1)
    target = (uniforms.nan_to_num() * cumulative[:, -1]).unsqueeze(1)
    # `right=True`: the first token whose cumulative mass exceeds the target, so that a token of
    # probability zero is never drawn, not even by a uniform of exactly 0.
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logprobs.shape[1] - 1)
    return torch.where(uniforms.isnan(), logprobs.argmax(-1), drawn)


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[tuple[int, ...]],
    generators: Sequence[np.random.Generator | None],
    *,
    eos_ids: frozenset[int],
    pad_id: int,
    max_new_tokens: int,
    temperature: float,
) -> list[Sample]:
    """One completion a prompt, drawn at `temperature`.

    There is no top-p and no top-k: what is sampled is what is trained.
    """
    distinct = list(dict.fromkeys(prompts))
    place = {prompt: index for index, prompt in enumerate(distinct)}
    batch = pad_left(distinct, pad_id, model.device)
    rows = torch.tensor([place[prompt] for prompt in prompts], device=model.device)
    # A generator's numbers are drawn at once: token t of a turn always uses the t-th of them.
    uniforms = torch.tensor(
        np.stack([_uniforms(generator, max_new_tokens) for generator in generators]), device=model.device
    )
    cache = DynamicCache(config=model.config)
    out = model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits = out.logits[rows, -1]
    if len(distinct) < len(prompts):
        cache.batch_select_indices(rows)
    mask, position = batch.mask[rows], batch.positions[rows, -1:]

    stops = torch.tensor(sorted(eos_ids), device=model.device)
    running = torch.ones(len(prompts), dtype=torch.bool, device=model.device)
    tokens: list[Tensor] = []
    chosen: list[Tensor] = []
    alive: list[Tensor] = []
    for t in range(max_new_tokens):
        logprobs = (logits.float() / temperature).log_softmax(-1)
        token = choose(logprobs, uniforms[:, t])
        tokens.append(token)
        chosen.append(logprobs.gather(1, token.unsqueeze(1)).squeeze(1))
        alive.append(running)
        running = running & ~torch.isin(token, stops)
        if t + 1 == max_new_tokens or not bool(running.any()):
            break
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        position = position + 1
        out = model(
            input_ids=token.unsqueeze(1),
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        logits = out.logits[:, -1]

    lengths = torch.stack(alive, 1).sum(1).tolist()
    ids, logs = torch.stack(tokens, 1).tolist(), torch.stack(chosen, 1).tolist()
    finished = (~running).tolist()
    return [
        Sample(tuple(ids[row][:length]), tuple(logs[row][:length]), finished[row])
        for row, length in enumerate(lengths)
    ]


def _uniforms(generator: np.random.Generator | None, count: int) -> np.ndarray:
    return np.full(count, np.nan) if generator is None else generator.random(count)
