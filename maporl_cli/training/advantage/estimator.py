"""What an advantage estimator is, and where estimators are kept by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from maporl_cli.core.config import TrainConfig

Returns = Sequence[Sequence[float]]
"""One agent's returns in one group: an inner sequence an episode, a number a turn. An episode in which the
agent had no turn is empty."""
Advantages = list[list[float]]
"""Advantages of the same shape as the returns."""
Summed = Callable[[Sequence[float]], list[float]]
"""Each value's sum over the ranks that hold the agent. All of them have to call it equally often."""


@dataclass(frozen=True, slots=True)
class Estimator:
    """How a turn's return is compared.

    Attributes:
        advantages: one agent's returns, group by group, to advantages of the same shape.
        across_groups: whether it compares with other groups; else a group without spread teaches nothing.
    """

    advantages: Callable[[Sequence[Returns], Summed], list[Advantages]]
    across_groups: bool = False


@dataclass(frozen=True, slots=True)
class Valued:
    """A turn, token by token.

    Attributes:
        rewards: what each token earned: the last one the turn's return, each less what its distance costs.
        values: what a value head expected of the turn before each token.
    """

    rewards: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a turn teaches, token by token.

    Attributes:
        advantages: how much better each token was than expected.
        targets: what the value head should have expected before each.
    """

    advantages: Sequence[float]
    targets: Sequence[float]


@dataclass(frozen=True, slots=True)
class CriticEstimator:
    """How a turn is compared with what the agent's own value head expected of it.

    Attributes:
        judge: what a turn teaches.
        across_groups: needs no groups, so one without spread teaches as well.
    """

    judge: Callable[[Valued, TrainConfig], Judged]
    across_groups: ClassVar[bool] = True


AnyEstimator = Estimator | CriticEstimator

_ESTIMATORS: dict[str, AnyEstimator] = {}


def register_estimator(name: str, estimator: AnyEstimator) -> None:
    """Make `estimator` known as `train.algorithm: name`."""
    _ESTIMATORS[name] = estimator


def estimators() -> Mapping[str, AnyEstimator]:
    """Every registered estimator, by name, in order of registration."""
    return dict(_ESTIMATORS)


def within_groups(advantages: Callable[[Returns], Advantages]) -> Estimator:
    """An estimator that compares within each group alone."""
    return Estimator(lambda groups, summed: [advantages(returns) for returns in groups])


def mean_of(turns: Sequence[float]) -> float | None:
    """What an episode counts in a comparison: the mean over its turns; None where it has none."""
    return sum(turns) / len(turns) if turns else None
