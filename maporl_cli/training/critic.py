"""A value head: what an agent expects its turn to return, told at every token from its own hidden states."""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maporl_cli.agents.policy import Readable, Scored
from maporl_cli.training.advantage.estimator import Summed

_ROUNDING = 1e-12
"""Of the targets' squares; a spread of a millionth of their size is told from none."""


def head_of(policy: Readable) -> nn.Linear:
    """One linear layer that makes a number of the policy's hidden states, zero at its start."""
    like = next(iter(policy.trainable().values()))
    head = nn.Linear(policy.hidden_width, 1, device=like.device, dtype=like.dtype)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head


class Critic:
    """One linear layer on the last layer's states, zero at its start: `V = w·h / width + b`.

    Adam moves every weight by about the learning rate, and so the values by about as much, whatever the width
    (Yang et al. 2022, arXiv 2203.03466, scale the learning rate of a model's last layer alike).

    It reads the policy and by default does not move it, so that the policy's gradient stays that of its own
    loss and the two learning rates are independent.

    Args:
        policy: whose states are read.
        shared: the share of the value loss's gradient that reaches the policy.
    """

    def __init__(self, policy: Readable, *, shared: float) -> None:
        self._policy = policy
        self._shared = shared
        self.head = head_of(policy)

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> tuple[Scored, Tensor]:
        """As the policy's, from one forward pass, and the values.

        Returns:
            the scores, and (rows, longest completion) of what was expected before each token.
        """
        scored = self._policy.score(prompts, completions, temperature=temperature, hidden=True)
        assert scored.hidden is not None, "it was asked for"
        states = scored.hidden.detach()
        if self._shared:
            states = states + self._shared * (scored.hidden - states)
        states = states.to(self.head.weight.dtype) / self._policy.hidden_width
        return scored, self.head(states).squeeze(-1)

    def state(self) -> dict[str, Any]:
        """The head's weights."""
        return self.head.state_dict()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self.head.load_state_dict(state)


def value_loss(values: Tensor, targets: Tensor, said: Tensor, active_total: int) -> Tensor:
    """½ (V − target)², summed over all tokens said and divided by the policy loss's number of them.

    So turns that were cut weigh as much as they are many, and a team that begins to have its turns cut soon
    knows what comes of it; a mean over the tokens said was tried, and it never did (docs/algorithms.md).

    Not clipped: Andrychowicz et al. 2021 (arXiv 2006.05990) found PPO's clipping of it to do harm.

    Args:
        values, targets, said: (rows, length); cut turns were said too, and what came of them is expected.
        active_total: active tokens of the agent's whole update, over all microbatches and ranks.
    """
    missed = torch.where(said, values - targets, torch.zeros_like(values))
    return (missed**2).sum() / (2 * active_total)


def explained_variance(values: Sequence[float], targets: Sequence[float], summed: Summed) -> float:
    """1 − Σ (target − V)² / Σ (target − mean)²: 1 where all is foreseen, 0 where a constant would do as well.

    0 where all targets are the same: their spread is then no more than the rounding of their mean.

    Args:
        values, targets: one of each a token, of this rank.
        summed: over the replicas, which are told of together.
    """
    missed = math.fsum((target - value) ** 2 for value, target in zip(values, targets, strict=True))
    size = math.fsum(target**2 for target in targets)
    total, count, error, whole = summed([math.fsum(targets), len(targets), missed, size])
    mean = total / count
    (spread,) = summed([math.fsum((target - mean) ** 2 for target in targets)])
    return 1 - error / spread if spread > _ROUNDING * whole else 0.0
