"""REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740, eq. 8)."""

from __future__ import annotations

from collections.abc import Sequence


def leave_one_out(returns: Sequence[Sequence[float]]) -> list[list[float]]:
    """A return minus the mean return of the *other* episodes of the group.

    The baseline of an episode never contains the episode itself, so it adds no bias; and
    nothing is divided by the group's spread, so a group of near ties stays a small gradient.

    Args:
        returns: one agent's returns in one group; an inner sequence an episode, a number a
            turn. An episode counts in a baseline by the mean over its turns. Episodes in which
            the agent had no turn are left out.

    Returns:
        Advantages of the same shape; zero where there is no other episode to compare with.
    """
    means = [sum(turns) / len(turns) if turns else None for turns in returns]
    advantages: list[list[float]] = []
    for index, turns in enumerate(returns):
        others = [mean for place, mean in enumerate(means) if place != index and mean is not None]
        baseline = sum(others) / len(others) if others else None
        advantages.append([0.0 if baseline is None else value - baseline for value in turns])
    return advantages
