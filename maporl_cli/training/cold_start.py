"""The short supervised phase before reinforcement learning: a policy learns each role's format.

What is imitated is given by the benchmark: random tokens to copy, then demonstrations whose
form is right and whose content is uninformed. No demonstration holds a solution.
"""

# torch, safetensors and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maporl_cli.agents.batching import length_mask
from maporl_cli.agents.policy import Policy


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the turn to imitate, end-of-turn id included."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def imitate(
    policy: Policy,
    batches: Iterator[Sequence[Sequence[Demonstration]]],
    *,
    steps: int,
    learning_rate: float,
    decay: float,
    on_step: Callable[[int, float], None],
) -> None:
    """Maximise the likelihood of `steps` batches of demonstrations with AdamW, in place.

    Args:
        batches: each in parts of about one length, which cost less apart than padded to the
            longest; every part counts the same, whatever its number of tokens.
        learning_rate: the peak, reached after a short warm-up.
        decay: the share of the steps, at the end, over which the rate falls to 2 % of it; 0: it stays.
        on_step: called with the step (from 1) and its mean loss in nats a token.
    """
    parameters = list(policy.trainable().values())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _scale(step, steps, decay))
    for step in range(1, steps + 1):
        optimizer.zero_grad(set_to_none=True)
        parts = next(batches)
        total = 0.0
        for part in parts:
            loss = _loss(policy, part) / len(parts)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        on_step(step, total)


def _scale(step: int, steps: int, decay: float) -> float:
    falling = max(0.02, (steps - step) / (decay * steps)) if decay and steps else 1.0
    return min(1.0, (step + 1) / 20, falling)


def _loss(policy: Policy, shown: Sequence[Demonstration]) -> Tensor:
    completions = [demonstration.token_ids for demonstration in shown]
    scored = policy.score([demonstration.prompt_ids for demonstration in shown], completions, temperature=1.0)
    mask = length_mask([len(completion) for completion in completions], scored.logprobs.device)
    return -torch.where(mask, scored.logprobs, 0.0).sum() / mask.sum()
