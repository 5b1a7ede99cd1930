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

from maporl_cli.agents.batching import length_mask
from maporl_cli.agents.policy import Policy


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the turn to imitate, end-of-turn id included."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def imitate(
    policy: Policy,
    batches: Iterator[Sequence[Demonstration]],
    *,
    steps: int,
    learning_rate: float,
    on_step: Callable[[int, float], None],
) -> None:
    """Maximise the likelihood of `steps` batches of demonstrations with AdamW, in place.

    Args:
        on_step: called with the step (from 1) and its mean loss in nats a token.
    """
    optimizer = torch.optim.AdamW(
        policy.trainable().values(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    for step in range(1, steps + 1):
        batch = next(batches)
        completions = [shown.token_ids for shown in batch]
        scored = policy.score([shown.prompt_ids for shown in batch], completions, temperature=1.0)
        mask = length_mask([len(completion) for completion in completions], scored.logprobs.device)
        loss = -torch.where(mask, scored.logprobs, 0.0).sum() / mask.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.trainable().values(), 1.0)
        optimizer.step()
        on_step(step, float(loss.detach()))
