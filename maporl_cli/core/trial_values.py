"""A config with the values that one trial of a search has: the same here and in a tuning job."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any, cast

from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import changed

_BATCH, _GROUP, _AT_ONCE = "train.batch_size", "rollout.group_size", "train.per_device_train_batch_size"


def with_values(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """`config` with the values of some dotted keys.

    Where they change how many episodes a step has, as many of them go through a pass as come out even: that
    changes nothing of what is learned, and no search should have to think of it.

    Args:
        source: who gives them, for errors.

    Raises:
        ConfigError: a key that there is not, or a value that it cannot have.
    """
    even: dict[str, Any] = {}
    if not values.keys().isdisjoint((_BATCH, _GROUP)) and _AT_ONCE not in values:
        questions = values.get(_BATCH, config.train.batch_size)
        group = values.get(_GROUP, config.rollout.group_size)
        if isinstance(questions, int) and isinstance(group, int):  # else it is refused below
            even[_AT_ONCE] = gcd(questions * group, config.train.per_device_train_batch_size)
    return changed(config, {**values, **even}, source)


def value_at(config: Config, key: str) -> Any:
    """The value of a dotted key; an agent goes by its name or number.

    Raises:
        KeyError: the key holds more than one value.
    """
    found: Any = config
    for part in key.split("."):
        if found is config.team.agents:
            seats = config.team.agents
            found = {str(place): seat for place, seat in enumerate(seats)} | {
                seat.name: seat for seat in seats
            }
        found = cast("dict[str, Any]", found)[part] if isinstance(found, dict) else getattr(found, part)
    if not isinstance(found, bool | int | float | str | None):
        raise KeyError(key)
    return found
