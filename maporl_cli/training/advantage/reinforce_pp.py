"""REINFORCE++ (Hu et al. 2025, arXiv 2501.03262): advantages normalised over the batch of all replicas.

`A = (R − mean_batch R) / (std_batch R + 1e-8)`, no critic and no groups; with a baseline the group's mean is
taken off first, and only the scale comes from the batch. The paper normalises over tokens; here a turn counts
once, however long it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from maporl_cli.training.advantage.estimator import Advantages, Returns, Summed
from maporl_cli.training.advantage.grpo import centered

_SMALLEST = 1e-8


def normalized(groups: Sequence[Returns], summed: Summed) -> list[Advantages]:
    """Returns less the batch's mean, divided by the batch's spread."""
    values = [value for returns in groups for turns in returns for value in turns]
    total, count = summed([math.fsum(values), len(values)])
    mean = total / count if count else 0.0
    squares, _ = summed([math.fsum((value - mean) ** 2 for value in values), 0.0])
    spread = math.sqrt(squares / count) if count else 0.0
    return [
        [[(value - mean) / (spread + _SMALLEST) for value in turns] for turns in returns]
        for returns in groups
    ]


def normalized_over_groups(groups: Sequence[Returns], summed: Summed) -> list[Advantages]:
    """The same of what is left when each group's own mean is taken off."""
    return normalized([centered(returns) for returns in groups], summed)
