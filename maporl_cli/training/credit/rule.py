"""What a credit rule is, and where rules are kept by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Episode

CreditRule = Callable[[Episode, TrainConfig], list[float]]
"""(scored episode, the algorithm's numbers) to one return a turn, in the order of the episode's turns."""

_RULES: dict[str, CreditRule] = {}


def register_credit(name: str, rule: CreditRule) -> None:
    """Make `rule` known as `train.credit: name`."""
    _RULES[name] = rule


def credit_rules() -> Mapping[str, CreditRule]:
    """Every registered rule, by name, in order of registration."""
    return dict(_RULES)
