"""REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740, eq. 8)."""

from __future__ import annotations

from maporl_cli.training.advantage.estimator import Advantages, Returns, mean_of


def leave_one_out(returns: Returns) -> Advantages:
    """A return minus the mean return of the *other* episodes of the group.

    The baseline of an episode never contains the episode itself, so it adds no bias; and
    nothing is divided by the group's spread, so a group of near ties stays a small gradient.

    An episode counts in a baseline by the mean over its turns; one in which the agent had no turn is left
    out. Where there is no other episode to compare with, the advantage is zero.
    """
    means = [mean_of(turns) for turns in returns]
    advantages: Advantages = []
    for index, turns in enumerate(returns):
        others = [mean for place, mean in enumerate(means) if place != index and mean is not None]
        baseline = sum(others) / len(others) if others else None
        advantages.append([0.0 if baseline is None else value - baseline for value in turns])
    return advantages
