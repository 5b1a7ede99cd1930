"""Group-relative advantages (Shao et al. 2024, arXiv 2402.03300, §4.1.2), and the same undivided.

`A = (R − mean) / (std + 1e-4)` over the episodes of a group, `std` with n − 1, as TRL has it. Division weighs
a group of near ties as much as one of wide spread, which Liu et al. 2025 (arXiv 2503.20783, "Dr. GRPO") call
a bias towards questions that are too easy or too hard; `dr_grpo` leaves it out.
"""

from __future__ import annotations

from statistics import fmean, stdev

from maporl_cli.training.advantage.estimator import Advantages, Returns, mean_of

_SMALLEST = 1e-4
"""Added to the spread, so that near ties do not blow up."""


def group_relative(returns: Returns) -> Advantages:
    """A return minus the group's mean, divided by the group's spread. An episode counts by the mean over its
    turns; one alone has nothing to be compared with, and gets zero."""
    spread = stdev(means) if len(means := _means(returns)) > 1 else 0.0
    return [[value / (spread + _SMALLEST) for value in turns] for turns in centered(returns)]


def centered(returns: Returns) -> Advantages:
    """A return minus the group's mean: the leave-one-out advantage × (n − 1)/n where each has one turn."""
    means = _means(returns)
    middle = fmean(means) if len(means) > 1 else None
    return [[0.0 if middle is None else value - middle for value in turns] for turns in returns]


def _means(returns: Returns) -> list[float]:
    return [mean for turns in returns if (mean := mean_of(turns)) is not None]
