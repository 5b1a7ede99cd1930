"""`training.log`: all that a run said, with the time, whatever was shown on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from maporl_cli.core.atomic import append_line
from maporl_cli.monitoring.console import step_line


class LogFile:
    """Appends lines that begin with the time in UTC.

    A run that is resumed goes on in the same file, so a step that a kill undid stands in it twice:
    a log tells what happened, `metrics.jsonl` what counts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def say(self, text: str) -> None:
        """Append `text`, a line of its own."""
        append_line(self._path, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {text}")


class LogSink:
    """A line a step in the log.

    Args:
        log: where the lines go.
        label: whose steps they are; empty for the run's own team.
        total_steps: the step that training ends at.
    """

    def __init__(self, log: LogFile, label: str, total_steps: int) -> None:
        self._log, self._label, self._total = log, label, total_steps

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the metrics of `step`."""
        self._log.say(f"{self._label}{step_line(step, self._total, metrics)}")

    def close(self) -> None:
        """Nothing is left open between steps."""
