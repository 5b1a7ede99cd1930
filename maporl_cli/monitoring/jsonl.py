"""`metrics.jsonl`: a flat JSON object a step, the one record of a run's metrics."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from maporl_cli.core.atomic import append_line, atomic_write
from maporl_cli.core.errors import damaged


class JsonlSink:
    """Appends `{"step": …, "time": …, name: value, …}` a step; `time` is in seconds since 1970.

    Args:
        path: the file; made when the first step is logged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one whole line. A value that is not finite becomes null: JSON has no word for it."""
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        append_line(self._path, json.dumps({"step": step, "time": time.time(), **values}, allow_nan=False))

    def rewind(self, step: int) -> None:
        """Drop what was logged after `step`, and a last line that a kill left half-written.

        A resumed run repeats the steps after its checkpoint; without this they would stand in
        the file twice.
        """
        if not self._path.exists():
            return
        kept = [line for line, row in _rows(self._path) if row["step"] <= step]
        atomic_write(self._path, "".join(kept))

    def close(self) -> None:
        """Nothing is left open between steps."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """A run's metrics, a mapping a step in the order of steps; parts of one step are merged.

    An absent file has no steps: a run may have stopped before its first. A half-written last
    line is left out.

    Raises:
        RunFailed: a line before the last is no metric.
    """
    if not path.exists():
        return []
    steps: dict[int, dict[str, Any]] = {}
    for _, row in _rows(path):
        steps.setdefault(row["step"], {}).update(row)
    return [steps[step] for step in sorted(steps)]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                return
            try:
                row: Any = json.loads(line)
                if not isinstance(row, dict) or "step" not in row:
                    raise ValueError(f"line {number} is not a step's metrics")
            except ValueError as error:
                raise damaged(path, error) from error
            yield line, cast("dict[str, Any]", row)
