"""The teams of one that a team is compared with, trained inside its run.

`single` is one agent of the same size that sees every view, trained on as many tokens as the
whole team; `reporter_alone` is the reporter with its own view only, trained for as many steps.
Both start from the very weights the team started from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.systems import SINGLE
from maporl_cli.training.checkpoint import Progress


def baseline_config(config: Config, name: str) -> Config:
    """The config of the baseline `name`: the team's, with its last seat alone.

    Raises:
        ConfigError: there is no such baseline.
    """
    seat = config.team.agents[-1]
    if name == SINGLE:
        seat = seat.model_copy(update={"name": SINGLE, "trained": True})
    elif name == "reporter_alone":
        seat = seat.model_copy(update={"trained": True})
    else:
        raise ConfigError(
            f"There is no baseline {name!r}.", where="eval.baselines", fix="use `single` or `reporter_alone`"
        )
    # One agent has nobody to talk to, so it takes one turn.
    team = config.team.model_copy(update={"agents": (seat,), "max_rounds_per_episode": 1})
    # Its collapse is a result, and no reason to stop the run that it is compared with.
    guards = "off" if config.train.guards == "off" else "warn"
    train = config.train.model_copy(update={"guards": guards})
    return config.model_copy(update={"team": team, "train": train})


def baseline_steps(config: Config, name: str, team: Progress, before: Mapping[str, Any]) -> int:
    """How long the baseline trains.

    Args:
        team: the team's finished training.
        before: the baseline's evaluation before training; its tokens a question tell how many
            tokens a step of it takes.
    """
    if name != SINGLE:
        return team.step
    tokens_a_step = before["tokens_per_question"] * config.train.batch_size * config.rollout.group_size
    return max(1, round(team.tokens / tokens_a_step))
