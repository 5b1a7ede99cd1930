"""Adds a credit rule: each turn answers for the team's reward, less a price for its own tokens.

    maporl train --preset smollm2 --set data.train=FILE --set 'run.plugins=[examples/credit_thrift.py]' \
        --set train.credit=thrift

A reward component could only charge the team as a whole: whoever babbles would be paid for by all. A credit
rule sees the turns one by one. The price is small beside the reward, so that it decides among episodes that
are worth about the same.
"""

from __future__ import annotations

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Episode
from maporl_cli.training.credit import credit_rules, register_credit

PRICE = 0.0005
"""Reward a token."""
MOST = 0.2
"""What a turn may lose at most."""


def thrift(episode: Episode, train: TrainConfig) -> list[float]:
    """One return a turn."""
    team = credit_rules()["team"](episode, train)
    return [
        value - min(MOST, PRICE * len(turn.token_ids))
        for value, turn in zip(team, episode.turns, strict=True)
    ]


register_credit("thrift", thrift)
