"""A training as it is seen on the terminal: a live display, a line a step, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from statistics import fmean
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

Display = Literal["rich", "plain", "none", "job"]
"""`job`: lines for a job's log (`monitoring.job_lines`)."""

_SHOWN = {
    "train:accuracy": "accuracy {:.3f}",
    "train:reward": "reward {:.3f}",
    "train:loss": "loss {:.4f}",
    "eval:accuracy": "eval accuracy {:.3f}",
    "train:idle": "idle {:.0%}",
}


class ConsoleSink:
    """Shows step, accuracy, reward, loss, tokens per second and the time still to go, on stderr.

    Only what was measured is shown. The time to go is the mean of this sitting's
    `train:seconds` times the steps that are left; evaluations are not in it.

    Args:
        display: `rich` redraws in place, `plain` prints a line a step, others show nothing.
        total_steps: the step that training ends at.
    """

    def __init__(self, display: Display, total_steps: int) -> None:
        self._display = display
        self._total = total_steps
        self._seconds: list[float] = []
        self._latest: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.description}"),
        )
        self._live: Live | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of `step`."""
        if self._display not in ("rich", "plain"):
            return
        to_go = self._to_go(step, metrics)
        if self._display == "plain":
            line = step_line(step, self._total, metrics)
            print("  ".join([line, to_go] if to_go else [line]), file=sys.stderr, flush=True)
            return
        # What a step does not measure anew, such as an evaluation, stays in sight.
        self._latest.update(metrics)
        if self._live is None:
            self._progress.add_task("", total=self._total)
            self._live = Live(console=Console(stderr=True), refresh_per_second=4)
            self._live.start()
        self._progress.update(self._progress.task_ids[0], completed=step, description=to_go)
        self._live.update(Group(self._progress, Text("  ".join(_parts(self._latest)))), refresh=True)

    def close(self) -> None:
        """Leave the last state standing and give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _to_go(self, step: int, metrics: Mapping[str, float]) -> str:
        if "train:seconds" not in metrics:
            return ""
        self._seconds.append(metrics["train:seconds"])
        return f"ETA {duration(fmean(self._seconds) * (self._total - step))}"


def step_line(step: int, total_steps: int, metrics: Mapping[str, float]) -> str:
    """What was measured at a step, in a line."""
    return "  ".join([f"step {step}/{total_steps}", *_parts(metrics)])


def _parts(metrics: Mapping[str, float]) -> list[str]:
    parts = [form.format(metrics[name]) for name, form in _SHOWN.items() if name in metrics]
    seconds = metrics.get("train:seconds", 0.0)
    if seconds > 0 and "train:tokens" in metrics:
        parts.append(f"{metrics['train:tokens'] / seconds:,.0f} tokens/s")
    return parts


def duration(seconds: float) -> str:
    """A time span as people say it: `42s`, `3m 05s`, `2h 07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
