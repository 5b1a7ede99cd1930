"""Team credit: every turn answers for the whole team's reward."""

from __future__ import annotations

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Episode


def team_credit(episode: Episode, train: TrainConfig) -> list[float]:
    """The reward at the episode's end, discounted by `train.gamma` for each turn still to come.

    `gamma = 1` (the default) shares it evenly: the paper's 0.3 would leave the planner of four
    agents 3 % of the reward in one round.

    Returns:
        One return a turn, in order.

    Raises:
        ValueError: the episode has no score yet.
    """
    if episode.score is None:
        raise ValueError("credit needs a scored episode")
    turns = len(episode.turns)
    return [episode.score.total * train.gamma ** (turns - 1 - index) for index in range(turns)]
