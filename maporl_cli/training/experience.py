"""From scored episodes to what each agent learns from: its own turns, each with an advantage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Episode, Group, Turn
from maporl_cli.training.advantage.estimator import AnyEstimator, CriticEstimator, Estimator, Valued
from maporl_cli.training.credit import CreditRule


@dataclass(frozen=True, slots=True)
class Experience:
    """A turn and what it teaches, token by token. One that was cut teaches no more than what to expect.

    Attributes:
        advantages: how much better each token was than what it is compared with.
        values, targets: what the agent's value head expected before each token, and should have; empty
            where it has none.
    """

    turn: Turn
    advantages: Sequence[float]
    values: Sequence[float] = ()
    targets: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """A step's experiences by agent, and what was left out of them.

    Attributes:
        by_agent: each agent's turns that teach it; an agent may have none.
        dead_groups: groups without spread in their rewards.
        cut_turns: turns of the other groups that ended at their token limit.
        kl: by agent, the mean distance of its tokens from the frozen start, nats, of all replicas; of those
            whose returns it was taken off.
    """

    by_agent: dict[str, list[Experience]]
    dead_groups: int
    cut_turns: int
    kl: dict[str, float] = field(default_factory=dict[str, float])


def is_dead(group: Sequence[Episode]) -> bool:
    """Whether every episode of the group earned the same, or has no score: nothing can be learned from it."""
    totals = {episode.score.total for episode in group if episode.score is not None}
    return len(totals) <= 1


Returned = list[list[list[tuple[Turn, float]]]]
"""By group and episode: one agent's turns, each with its return."""
Costs = list[list[float]]
"""What is taken off the return of each of these turns, a number a token."""


class Learns(Protocol):
    """What gathering asks of an agent that learns; `training.update.Learner` is one."""

    @property
    def agent(self) -> str:
        """Its name."""
        ...

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each value's sum over the replicas."""
        ...

    def divergence(self, turns: Sequence[Turn]) -> list[list[float]]:
        """How far each token of each turn is from the frozen start, in nats."""
        ...

    def values(self, turns: Sequence[Turn]) -> list[list[float]]:
        """What its value head expects before each token of each turn."""
        ...


def taught_by(groups: Sequence[Group], estimator: AnyEstimator) -> list[Group]:
    """The groups that are compared: none without a score, and one without spread only where the estimator
    compares across groups."""
    return [
        group
        for group in groups
        if all(episode.score is not None for episode in group.episodes)
        and (estimator.across_groups or not is_dead(group.episodes))
    ]


def gather(
    groups: Sequence[Group],
    learners: Sequence[Learns],
    credit: CreditRule,
    estimator: AnyEstimator,
    train: TrainConfig,
) -> Gathered:
    """Credit, compare and collect the turns that are trained on: in a group with a place, those there.

    Groups without a score, dead ones where the estimator does not compare across groups, and turns cut at
    their limit are left out: they stand neither in the loss's numerator nor in its denominator. A cut
    turn's return still counts in the comparison, since it did happen: in the group's statistics, or in what
    a value head expects.

    With `train.kl_in: reward` a turn's own distance from the frozen start is taken off its return, before
    it is compared; where tokens are compared, each pays its own.
    """
    taught = taught_by(groups, estimator)
    returns = [[credit(episode, train) for episode in group.episodes] for group in taught]
    by_agent: dict[str, list[Experience]] = {}
    kl: dict[str, float] = {}
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
        turns = [turn for group in own for turns in group for turn, _ in turns]
        costs = [[0.0] * len(turn.token_ids) for turn in turns]
        if train.kl_coeff and train.kl_in == "reward":
            distances = learner.divergence(turns)
            costs = [[train.kl_coeff * nats for nats in tokens] for tokens in distances]
            nats, tokens = learner.summed([sum(map(sum, distances)), sum(map(len, distances))])
            kl |= {agent: nats / tokens} if tokens else {}
        if isinstance(estimator, CriticEstimator):
            by_agent[agent] = _judged(own, costs, learner, estimator, train)
        else:
            by_agent[agent] = _compared(own, costs, learner, estimator)
        cut += sum(not turn.finished for turn in turns)
    return Gathered(by_agent, sum(is_dead(group.episodes) for group in groups), cut, kl)


def _compared(own: Returned, costs: Costs, learner: Learns, estimator: Estimator) -> list[Experience]:
    """Each finished turn with its return's advantage, the same for all of its tokens."""
    each = iter(costs)
    own = [[[(turn, value - sum(next(each))) for turn, value in turns] for turns in group] for group in own]
    advantages = estimator.advantages(
        [[[value for _, value in turns] for turns in group] for group in own], learner.summed
    )
    return [
        Experience(turn, [advantage] * len(turn.token_ids))
        for group, compared in zip(own, advantages, strict=True)
        for turns, values in zip(group, compared, strict=True)
        for (turn, _), advantage in zip(turns, values, strict=True)
        if turn.finished
    ]


def _judged(
    own: Returned, costs: Costs, learner: Learns, estimator: CriticEstimator, train: TrainConfig
) -> list[Experience]:
    """Each turn with an advantage and a target for each of its tokens."""
    returned = [each for group in own for turns in group for each in turns]
    turns = [turn for turn, _ in returned]
    rewards = [[-cost for cost in tokens] for tokens in costs]
    for tokens, (_, value) in zip(rewards, returned, strict=True):
        tokens[-1] += value
    experiences: list[Experience] = []
    for turn, earned, values in zip(turns, rewards, learner.values(turns), strict=True):
        told = estimator.judge(Valued(earned, values), train)
        experiences.append(Experience(turn, told.advantages, values, told.targets))
    return experiences


def _own(
    agent: str, episode: Episode, values: Sequence[float], place: int | None
) -> list[tuple[Turn, float]]:
    """The agent's turns of an episode, each with its return; where one place is compared, only that one."""
    return [
        (turn, value)
        for index, (turn, value) in enumerate(zip(episode.turns, values, strict=True))
        if turn.agent == agent and place in (None, index)
    ]
