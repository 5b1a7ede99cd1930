"""What a reward component is: a pure function of a finished episode, with a name and a reason.

A new one is one file and one `register_component` line (`examples/reward_brevity.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Episode


@dataclass(frozen=True, slots=True)
class Measure:
    """A component's value in [0, 1], and why it is zero where it is."""

    value: float
    reason: str = ""


Component = Callable[[Episode], Measure | None]
"""Measures a finished episode; None where it cannot apply, which leaves it out of the reward.

A question may have no gold answer (`question.has_gold`): then `stances.chance_right` tells how likely the
episode's is right.
"""

ACCURACY = "accuracy"
"""Built with the config's sentence encoder, and so not registered; the total is judged by it."""
_COMPONENTS: dict[str, Component] = {}


def register_component(name: str, component: Component) -> None:
    """Make `component` part of the reward under `name`; its weight is the config's.

    Raises:
        ConfigError: the name is the accuracy's, which decides what a wrong answer may earn at most.
    """
    if name == ACCURACY:
        raise ConfigError(
            f"A reward component cannot be called {name!r}.",
            where="run.plugins",
            why="the built-in one decides whether an answer is right, and a plug-in would replace it unseen",
            fix=f"register it under another name, such as my_{name}, and weigh it in reward.extra_weights",
        )
    _COMPONENTS[name] = component


def components() -> dict[str, Component]:
    """Every registered component, by name, in order of registration."""
    return dict(_COMPONENTS)
