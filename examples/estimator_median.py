"""Adds an advantage estimator: a turn is compared with the median of the other episodes of its group.

    maporl train --preset smollm2 --set data.train=FILE --set 'run.plugins=[examples/estimator_median.py]' \
        --set train.algorithm=median

One lucky episode moves the leave-one-out mean of all others, but not their median. In a group in which
fewer than half are right, the others' median is the wrong ones' reward: a right one then gets all of the
difference, and a wrong one is not pushed away from.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from maporl_cli.training.advantage import register_estimator, within_groups


def over_the_median(returns: Sequence[Sequence[float]]) -> list[list[float]]:
    """A return minus the median of the others', an episode counting by its mean; without others 0.

    Args:
        returns: one agent's returns in one group: an inner sequence an episode, a number a turn.
    """
    means = [sum(turns) / len(turns) if turns else None for turns in returns]
    advantages: list[list[float]] = []
    for index, turns in enumerate(returns):
        others = [mean for place, mean in enumerate(means) if place != index and mean is not None]
        advantages.append([value - median(others) if others else 0.0 for value in turns])
    return advantages


register_estimator("median", within_groups(over_the_median))
