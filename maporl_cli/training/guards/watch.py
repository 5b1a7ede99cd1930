"""Asks every guard after each step, says what fired, and stops where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.errors import RunFailed
from maporl_cli.training.checkpoint import Checkpoints
from maporl_cli.training.guards.incentives import agreement, dead_groups, divergence
from maporl_cli.training.guards.past import Alarm, Past
from maporl_cli.training.guards.shifts import SHIFTS

_GUARDS: tuple[Callable[[Past], Alarm | None], ...] = (dead_groups, agreement, divergence, *SHIFTS)


class Guards:
    """The guards of one training.

    Args:
        config: whether they watch (`train.guards`), and over how many steps (`train.guard_window`).
        agents: the team's names.
        across_groups: whether the estimator learns from groups without spread, which then are no alarm.
        history: the run's metrics so far, a mapping a step: a resumed run goes on with all of its past.
        checkpoints: where the last good one is looked for.
        say: told once of each guard that fires, where it only warns.
    """

    def __init__(
        self,
        config: TrainConfig,
        agents: Sequence[str],
        across_groups: bool,
        history: Iterable[Mapping[str, Any]],
        checkpoints: Checkpoints,
        say: Callable[[str], None],
    ) -> None:
        self._action = config.guards
        self._window = config.guard_window
        self._agents = agents
        self._guards = [guard for guard in _GUARDS if not (across_groups and guard is dead_groups)]
        # The evaluation before the first step is no step.
        self._rows = [row for row in history if row["step"]]
        self._fired = {name for row in self._rows for name in row if name.startswith("guard:")}
        self._checkpoints = checkpoints
        self._say = say

    def watch(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Ask the guards about a finished step; rank 0 does.

        Returns:
            An alarm for each guard that fired, also if it was said before.
        """
        if self._action == "off":
            return []
        self._rows.append({"step": step, **metrics})
        past = Past(self._rows, self._window, self._agents)
        alarms = [alarm for guard in self._guards if (alarm := guard(past)) is not None]
        if self._action == "stop":
            return [replace(alarm, good=self._good(alarm)) for alarm in alarms]
        for alarm in alarms:
            if alarm.metric not in self._fired:
                self._fired.add(alarm.metric)
                self._say(
                    f"Guard {alarm.guard} fired at step {step}: {alarm.what}. Last good checkpoint: "
                    f"{self._good(alarm)}.\nFix: {alarm.fix}"
                )
        return alarms

    def _good(self, alarm: Alarm) -> str:
        return str(self._checkpoints.before(alarm.since) or "none")

    def heed(self, step: int, alarms: Sequence[Alarm]) -> None:
        """Stop where `train.guards` is `stop`; every rank does, with the alarms that rank 0 saw.

        Raises:
            RunFailed: a guard fired; names it and the last good checkpoint.
        """
        if self._action == "stop" and alarms:
            first = alarms[0]
            raise RunFailed(
                f"The guard {first.guard} stopped the training.",
                where=f"step {step}; last good checkpoint: {first.good}",
                why=first.what,
                fix=f"{first.fix}, and start anew; --resume --set train.guards=warn goes on all the same",
            )
