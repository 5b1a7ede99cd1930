"""From scored episodes to what each agent learns from: its own turns, each with an advantage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maporl_cli.core.types import Episode, Turn
from maporl_cli.training.advantage import Estimator
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
        cut_turns: turns of live groups that ended at their token limit.
    """

    by_agent: dict[str, list[Experience]]
    dead_groups: int
    cut_turns: int


def is_dead(group: Sequence[Episode]) -> bool:
    """Whether every episode of the group earned the same: nothing can be learned from it."""
    totals = {episode.score.total for episode in group if episode.score is not None}
    return len(totals) <= 1


def gather(
    groups: Sequence[Sequence[Episode]],
    agents: Sequence[str],
    credit: CreditRule,
    estimator: Estimator,
    gamma: float,
) -> Gathered:
    """Credit, compare and collect the turns that are trained on.

    Dead groups and turns cut at their limit are left out altogether: they stand neither in the
    loss's numerator nor, having no tokens here, in its denominator. A cut turn's return still
    counts in its group's baselines, since it did happen.
    """
    by_agent: dict[str, list[Experience]] = {agent: [] for agent in agents}
    dead = cut = 0
    for group in groups:
        if is_dead(group):
            dead += 1
            continue
        returns = [credit(episode, gamma) for episode in group]
        for agent in agents:
            turns = [[turn for turn in episode.turns if turn.agent == agent] for episode in group]
            own = [
                [value for turn, value in zip(episode.turns, values, strict=True) if turn.agent == agent]
                for episode, values in zip(group, returns, strict=True)
            ]
            for spoken, advantages in zip(turns, estimator(own), strict=True):
                for turn, advantage in zip(spoken, advantages, strict=True):
                    if turn.finished:
                        by_agent[agent].append(Experience(turn, advantage))
                    else:
                        cut += 1
    return Gathered(by_agent, dead, cut)
