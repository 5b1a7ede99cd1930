"""From scored episodes to what each agent learns from: its own turns, each with an advantage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Episode, Group, Turn
from maporl_cli.training.advantage.estimator import Estimator
from maporl_cli.training.credit import CreditRule


@dataclass(frozen=True, slots=True)
class Experience:
    """A turn and how much better than its group it was."""

    turn: Turn
    advantage: float


@dataclass(frozen=True, slots=True)
class Gathered:
    """A step's experiences by agent, and what was left out of them.

    Attributes:
        by_agent: each agent's active turns; an agent may have none.
        dead_groups: groups without spread in their rewards.
        cut_turns: turns of the other groups that ended at their token limit.
    """

    by_agent: dict[str, list[Experience]]
    dead_groups: int
    cut_turns: int


def is_dead(group: Sequence[Episode]) -> bool:
    """Whether every episode of the group earned the same: nothing can be learned from it."""
    totals = {episode.score.total for episode in group if episode.score is not None}
    return len(totals) <= 1


Returned = list[list[list[tuple[Turn, float]]]]
"""By group and episode: one agent's turns, each with its return."""


class Learns(Protocol):
    """What gathering asks of an agent that learns; `training.update.Learner` is one."""

    @property
    def agent(self) -> str:
        """Its name."""
        ...

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each value's sum over the replicas."""
        ...

    def divergence(self, turns: Sequence[Turn]) -> list[float]:
        """How far each turn's tokens are from the frozen start, in nats."""
        ...


def taught_by(groups: Sequence[Group], estimator: Estimator) -> list[Group]:
    """The groups that are compared: without spread only where the estimator compares across groups."""
    return [group for group in groups if estimator.across_groups or not is_dead(group.episodes)]


def gather(
    groups: Sequence[Group],
    learners: Sequence[Learns],
    credit: CreditRule,
    estimator: Estimator,
    train: TrainConfig,
) -> Gathered:
    """Credit, compare and collect the turns that are trained on: in a group with a place, those there.

    Dead groups, where the estimator does not compare across groups, and turns cut at their limit are left
    out altogether: they stand neither in the loss's numerator nor, having no tokens here, in its
    denominator. A cut turn's return still counts in the comparison, since it did happen.

    With `train.kl_in: reward` a turn's own distance from the frozen start is taken off its return, before
    it is compared.
    """
    taught = taught_by(groups, estimator)
    returns = [[credit(episode, train) for episode in group.episodes] for group in taught]
    by_agent: dict[str, list[Experience]] = {}
    cut = 0
    for learner in learners:
        agent = learner.agent
        own = [
            [
                _own(agent, episode, values, group.place)
                for episode, values in zip(group.episodes, credited, strict=True)
            ]
            for group, credited in zip(taught, returns, strict=True)
        ]
        if train.kl_coeff and train.kl_in == "reward":
            own = _charged(own, learner, train.kl_coeff)
        advantages = estimator.advantages(
            [[[value for _, value in turns] for turns in group] for group in own], learner.summed
        )
        by_agent[agent] = []
        for group, compared in zip(own, advantages, strict=True):
            for turns, values in zip(group, compared, strict=True):
                for (turn, _), advantage in zip(turns, values, strict=True):
                    if turn.finished:
                        by_agent[agent].append(Experience(turn, advantage))
                    else:
                        cut += 1
    return Gathered(by_agent, sum(is_dead(group.episodes) for group in groups), cut)


def _charged(own: Returned, learner: Learns, price: float) -> Returned:
    """The same turns, each return less its distance."""
    distances = iter(learner.divergence([turn for group in own for turns in group for turn, _ in turns]))
    return [
        [[(turn, value - price * next(distances)) for turn, value in turns] for turns in group]
        for group in own
    ]


def _own(
    agent: str, episode: Episode, values: Sequence[float], place: int | None
) -> list[tuple[Turn, float]]:
    """The agent's turns of an episode, each with its return; where one place is compared, only that one."""
    return [
        (turn, value)
        for index, (turn, value) in enumerate(zip(episode.turns, values, strict=True))
        if turn.agent == agent and place in (None, index)
    ]
