"""What a credit rule is, and where rules are kept by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from maporl_cli.agents.roles import RoleBook
from maporl_cli.agents.team import Team
from maporl_cli.core.config import Config, TrainConfig
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Episode, Group
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.ranks import Ranks

CreditRule = Callable[[Episode, TrainConfig], list[float]]
"""(scored episode, the algorithm's numbers) to one return a turn, in the order of the episode's turns."""


@dataclass(frozen=True, slots=True)
class Means:
    """With what a measurement is made."""

    config: Config
    team: Team
    reward: Reward
    ranks: Ranks
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a rule needs to know beyond the transcript; it is made before credit is shared out.

    Attributes:
        take: sets `Episode.measured` in the second groups, those of this replica that are learned from; the
            first are all of its groups. Gives the tokens it read and sampled. Every rank calls it in every
            step, so it may hold collectives.
        refuse: raises ConfigError where the config or the role book does not allow it.
        asks_start: whether it asks the frozen start of the last agent, which is kept for it.
    """

    take: Callable[[Sequence[Group], Sequence[Group], Means], int]
    refuse: Callable[[Config, RoleBook], None]
    asks_start: bool = False


@dataclass(frozen=True, slots=True)
class Credit:
    """A credit rule, and what has to be measured before it can be asked; None where nothing has."""

    rule: CreditRule
    measurement: Measurement | None = None

    def __call__(self, episode: Episode, train: TrainConfig) -> list[float]:
        """One return a turn."""
        return self.rule(episode, train)


_RULES: dict[str, Credit] = {}


def register_credit(name: str, rule: CreditRule, measurement: Measurement | None = None) -> None:
    """Make `rule` known as `train.credit: name`."""
    _RULES[name] = Credit(rule, measurement)


def credit_rules() -> Mapping[str, Credit]:
    """Every registered rule, by name, in order of registration."""
    return dict(_RULES)


def keeps_start(config: Config) -> tuple[str, ...]:
    """The agents whose frozen start is kept: all for the KL term, the last for a measurement that asks it."""
    if config.train.kl_coeff:
        return config.team.names
    credit = _RULES.get(config.train.credit)
    asked = credit is not None and credit.measurement is not None and credit.measurement.asks_start
    return config.team.names[-1:] if asked else ()
