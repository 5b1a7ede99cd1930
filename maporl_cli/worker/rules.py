"""What a team is taught by, and what a training refuses of it before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from maporl_cli.agents.roles import RoleBook
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.systems import SINGLE
from maporl_cli.rewards.medical import Reward, component_weights
from maporl_cli.training.advantage import AnyEstimator, estimators
from maporl_cli.training.credit import Credit, credit_rules
from maporl_cli.worker.baselines import baseline_config

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a team is taught by: what an episode earns, who answers for it, what it is compared with."""

    reward: Reward
    credit: Credit
    estimator: AnyEstimator


def open_rules(config: Config, book: RoleBook) -> Rules:
    """The rules that the config names.

    Raises:
        ConfigError: one of them is not there or does not fit, or no reward could ever be earned.
    """
    return Rules(
        Reward(config.reward, book),
        open_credit(config, book),
        open_estimator(config),
    )


def refuse_rules(config: Config, book: RoleBook) -> None:
    """What a training of that config refuses of its team and rules, before any model is loaded.

    Raises:
        ConfigError: an agent or a baseline has no role, no agent is trained, or as `open_rules`.
    """
    alone = [baseline_config(config, name).team.names for name in config.eval.baselines]
    for name in (name for names in (config.team.names, *alone) for name in names):
        book.role(name)
    refuse_untrained(config)
    has_verifier(config, book)
    component_weights(config.reward)
    open_credit(config, book)
    open_estimator(config)


def open_estimator(config: Config) -> AnyEstimator:
    """The advantage estimator that the config names.

    Raises:
        ConfigError: it is not there.
    """
    return _registered(estimators(), config.train.algorithm, "train.algorithm")


def open_credit(config: Config, book: RoleBook) -> Credit:
    """The credit rule that the config names.

    Raises:
        ConfigError: it is not there, or what it has to measure does not go with the config or the book.
    """
    credit = _registered(credit_rules(), config.train.credit, "train.credit")
    if credit.measurement is not None:
        credit.measurement.refuse(config, book)
    return credit


def has_verifier(config: Config, book: RoleBook) -> bool:
    """Whether the reward has one.

    Raises:
        ConfigError: it would have nothing to read by.
    """
    if config.reward.verifier == "none":
        return False
    if SINGLE not in book.roles:
        raise ConfigError(
            f"The role book {book.name!r} has no role {SINGLE!r}, and a verifier reads as that role does.",
            where="reward.verifier=learned",
            why="it has to see all that any agent may see",
            fix=f"register the role {SINGLE!r} in a plug-in (agents.roles.register_role), or "
            "--set reward.verifier=none",
        )
    return True


def refuse_untrained(config: Config) -> None:
    """Raises ConfigError where no agent would learn."""
    if not any(seat.trained for seat in config.team.agents):
        raise ConfigError(
            "No agent is trained.",
            where="team.agents.*.trained",
            fix="leave `trained` true for at least one agent, or use `maporl eval`",
        )


def _registered(rules: Mapping[str, T], name: str, key: str) -> T:
    if name not in rules:
        raise ConfigError(
            f"There is no {key} {name!r}.", where=key, fix=f"use one of these: {', '.join(rules)}"
        )
    return rules[name]
