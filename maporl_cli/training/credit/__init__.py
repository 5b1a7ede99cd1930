"""Credit: how an episode's reward is shared out to its turns. One file a rule."""

from __future__ import annotations

from collections.abc import Callable

from maporl_cli.core.types import Episode
from maporl_cli.training.credit.team import team_credit

CreditRule = Callable[[Episode, float], list[float]]
"""(scored episode, gamma) to one return a turn, in the order of the episode's turns."""

CREDIT_RULES: dict[str, CreditRule] = {"team": team_credit}
