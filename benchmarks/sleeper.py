"""A policy that sleeps instead of computing, so that a measurement of the schedule measures nothing else.

A plug-in: `--set run.plugins=[benchmarks/sleeper.py] --set model.name=sleeper`. Sampling a batch takes
`SLEEPER_CALL` seconds and `SLEEPER_ROW` more for each row of it; scoring for an update the same for each
pass. Tokens are drawn from the turn's own generator and rewarded at random, so that every step learns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maporl_cli.agents.policy import Sample, Scored, register_policy
from maporl_cli.core.types import Episode
from maporl_cli.rewards.component import Measure, register_component

CALL = float(os.environ.get("SLEEPER_CALL", "0.2"))
ROW = float(os.environ.get("SLEEPER_ROW", "0"))
LENGTH = 4


class Sleeper:
    """Implements `maporl_cli.agents.policy.Policy`."""

    def __init__(self, agent: str) -> None:
        self.version = 0
        self._weight = torch.nn.Parameter(torch.zeros(1))

    @property
    def context_length(self) -> int:
        return 1_000_000

    def encode(self, prompt: str) -> tuple[int, ...]:
        return (0,) * len(prompt.split())

    def encode_turn(self, text: str) -> tuple[int, ...]:
        return self.encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return " ".join(map(str, token_ids))

    def sample(
        self,
        prompts: Sequence[tuple[int, ...]],
        generators: Sequence[np.random.Generator | None],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Sample]:
        time.sleep(CALL + ROW * len(prompts))
        return [
            Sample(
                tuple((generator or np.random.default_rng(0)).integers(0, 100, LENGTH).tolist()),
                (-1.0,) * LENGTH,
                True,
            )
            for generator in generators
        ]

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Scored:
        time.sleep(CALL + ROW * len(prompts))
        longest = max(map(len, completions))
        logprobs = self._weight.expand(len(completions), longest) - 1.0
        return Scored(logprobs, torch.zeros_like(logprobs))

    def reference_logprobs(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Tensor:
        raise NotImplementedError("a sleeper has no reference: leave train.kl_coeff at 0")

    def keep_reference(self) -> None:
        raise NotImplementedError("a sleeper has no reference: leave train.kl_coeff at 0")

    def trainable(self) -> Mapping[str, torch.nn.Parameter]:
        return {"weight": self._weight}

    def save(self, directory: Path) -> None:
        (directory / "weight").write_text(str(self._weight.item()))


def chance(episode: Episode) -> Measure:
    """A reward that differs within nearly every group."""
    return Measure(sum(sum(turn.token_ids) for turn in episode.turns) % 97 / 97)


register_policy("sleeper", Sleeper)
register_component("chance", chance)
