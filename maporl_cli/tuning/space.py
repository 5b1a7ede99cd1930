"""What a study searches, and the run that each of its trials is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from maporl_cli.core.config import Config
from maporl_cli.core.config_tune import Choice, Range
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.run_dir import renamed
from maporl_cli.core.trial_values import value_at, with_values

_NO_LEARNING = tuple(
    f"train.{key}" for key in ("eval_every", "save_every", "keep_checkpoints", "guards", "guard_window")
)
Values = Mapping[str, Choice]
"""Of each searched key, what one trial has."""


def distributions(config: Config) -> dict[str, BaseDistribution]:
    """What a trial's values are drawn from, by key.

    Raises:
        ConfigError: a key that there is not, a value that it cannot have, or one that would change nothing.
    """
    if idle := [key for key in _NO_LEARNING if key in config.tune.space]:
        raise ConfigError(
            f"Searching {idle[0]} would change nothing.",
            where="tune.space",
            why="a study sets it itself, or it does not decide what is learned",
            fix=f"--set tune.space.{idle[0]}=null to leave it out",
        )
    if "train.num_epochs" in config.tune.space and config.train.max_steps is not None:
        raise ConfigError(
            "Searching train.num_epochs would change nothing.",
            where="tune.space",
            why=f"train.max_steps={config.train.max_steps} takes its place",
            fix="--set train.max_steps=null, or --set tune.space.train.num_epochs=null to leave it out",
        )
    found = {key: _distribution(config, key, values) for key, values in config.tune.space.items()}
    _refuse_two_names(config)
    return found


def trial_config(config: Config, values: Values, *, name: str, steps_between: int = 0) -> Config:
    """The config of one of the study's runs, which is evaluated on the tuning questions only.

    Args:
        config: the study's; its run is the study.
        values: of the searched keys.
        name: of the run, which lies in the study's folder.
        steps_between: steps between evaluations on the way; 0: there are none.

    Raises:
        ConfigError: these values cannot stand together.
    """
    return with_values(
        config,
        {
            **values,
            "run.name": name,
            "run.output_dir": str(config.run.output_dir / str(config.run.name)),
            "data.tuning_fraction": config.tune.eval_fraction,
            "train.eval_every": steps_between,
            "eval.baselines": [],
        },
        name,
    )


def found_config(config: Config, values: Values) -> Config:
    """The config that a study came to: `config` with the values, for any training."""
    return renamed(with_values(config, values, "the study"), None)


def _refuse_two_names(config: Config) -> None:
    """Nothing, where no agent goes by its name in one key and by its number in another."""
    names = list(config.team.names)
    seen: dict[str, str] = {}
    for key in config.tune.space:
        parts = key.split(".")
        if parts[:2] == ["team", "agents"] and parts[2] in names:
            parts[2] = str(names.index(parts[2]))
        first = seen.setdefault(".".join(parts), key)
        if first != key:
            raise ConfigError(
                f"{first} and {key} are one key.",
                where="tune.space",
                why="an agent goes by its name or by its number",
                fix=f"--set tune.space.{key}=null to leave one out",
            )


def _distribution(config: Config, key: str, values: tuple[Choice, ...] | Range) -> BaseDistribution:
    if isinstance(values, tuple):
        choices = [_taken(config, key, value) for value in values]
        if twice := [choice for choice in choices if choices.count(choice) > 1]:
            raise ConfigError(
                f"{key} has the choice {twice[0]} twice.",
                where=f"tune.space.{key}",
                why="that is how it takes them, however they are written",
                fix="name each once",
            )
        return CategoricalDistribution(choices)
    low, high = _taken(config, key, values.low), _taken(config, key, values.high)
    if _takes(config, key, math.nextafter(values.low, values.high)):
        return FloatDistribution(float(low), float(high), log=values.log)
    return IntDistribution(int(low), int(high), log=values.log)


def _taken(config: Config, key: str, value: Choice) -> Any:
    """A value as its key takes it, such as 1 where that is 1.0.

    Raises:
        ConfigError: it cannot have it.
    """
    try:
        return value_at(with_values(config, {key: value}, f"tune.space.{key}"), key)
    except KeyError:
        raise ConfigError(
            f"{key} is no single value, and cannot be searched.",
            where="tune.space",
            fix=f"search a key below it, as in {key}.…; `maporl config show` prints every key",
        ) from None
    except ConfigError as error:
        raise ConfigError(
            f"{value} is searched, and {key} cannot be that.",
            where=f"tune.space.{key}",
            why=error.what + (f" {error.why}" if error.why else ""),
            fix=error.fix,
        ) from error


def _takes(config: Config, key: str, value: Choice) -> bool:
    try:
        with_values(config, {key: value}, "")
    except ConfigError:
        return False
    return True
