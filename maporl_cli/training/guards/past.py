"""What guards look at: the steps of a run so far, and the tests that tell a change from noise."""

# scipy leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from statistics import fmean, median
from typing import Literal

from scipy.stats import kendalltau, mannwhitneyu

Rows = Sequence[Mapping[str, float | None]]
"""The metrics of consecutive training steps; a metric that was not measured is absent or None."""

ACCURACY, REWARD = "train:accuracy", "train:reward"
SOLVED = 0.9
"""From this accuracy on there is little left to learn: low entropy and dead groups are then success."""
SIGNIFICANT = 0.005
"""Below this p-value a change is one. The tests are looked at after every step, so it bounds no error rate:
each guard also asks for a change of some size."""


@dataclass(frozen=True)
class Past:
    """A run up to now.

    Attributes:
        rows: every finished step, the last one included.
        window: `train.guard_window`, the steps that count as "now".
        agents: the names of the team.
    """

    rows: Rows
    window: int
    agents: Sequence[str]

    @property
    def now(self) -> Rows:
        """The last `window` steps."""
        return self.rows[-self.window :]

    @property
    def lately(self) -> Rows:
        """The last four windows: long enough for a trend to show."""
        return self.rows[-reach(self.window) :]

    @property
    def before(self) -> Rows:
        """All steps before `now`."""
        return self.rows[: -self.window]

    @cached_property
    def best(self) -> Rows:
        """The two windows of steps in a row, before `now`, whose accuracy was best (of equals the last), of
        those where it was measured in half of the steps or more; empty where there are none."""
        before, size = self.before, 2 * self.window
        parts = [before[begin : begin + size] for begin in range(len(before) - size + 1)]
        known = [(fmean(found), part) for part in parts if 2 * len(found := values(part, ACCURACY)) >= size]
        return max(reversed(known), key=lambda one: one[0])[1] if known else ()


@dataclass(frozen=True, slots=True)
class Alarm:
    """That a guard fired.

    Attributes:
        guard: its name.
        since: the first of the steps that it fired over.
        what: what it saw, as a clause.
        fix: what to do about it.
        good: the last checkpoint from before `since`, where it was looked for.
    """

    guard: str
    since: int
    what: str
    fix: str
    good: str = ""

    @property
    def metric(self) -> str:
        """The metric that is 1 in a step at whose end it fired."""
        return f"guard:{self.guard}"


def reach(window: int) -> int:
    """The most steps that a guard fires over."""
    return 4 * window


def steps_of(rows: Rows) -> str:
    """Which steps they are, in words."""
    return f"steps {first_step(rows)} to {first_step(rows) + len(rows) - 1}"


def first_step(rows: Rows) -> int:
    """The step of the first row."""
    return int(rows[0]["step"] or 0)


def values(rows: Rows, name: str) -> list[float]:
    """A metric, where it was measured."""
    return [value for row in rows if (value := row.get(name)) is not None and isfinite(value)]


def means(before: Rows, after: Rows, name: str) -> tuple[float, float] | None:
    """The metric's mean before and after; None where it was measured in less than half of the steps."""
    return _averages(before, after, name, fmean)


def medians(before: Rows, after: Rows, name: str) -> tuple[float, float] | None:
    """As `means`, but one odd step moves neither."""
    return _averages(before, after, name, median)


def _averages(
    before: Rows, after: Rows, name: str, average: Callable[[Sequence[float]], float]
) -> tuple[float, float] | None:
    found = values(before, name), values(after, name)
    if any(2 * len(measured) < len(rows) for measured, rows in zip(found, (before, after), strict=True)):
        return None
    return (average(found[0]), average(found[1])) if all(found) else None


def moved(before: Rows, after: Rows, name: str, where: Literal["greater", "less"]) -> bool:
    """Whether the metric is greater (less) after than before: Mann and Whitney's U, which asks for no
    distribution and forgives a single odd step."""
    test = mannwhitneyu(values(after, name), values(before, name), alternative=where)
    return bool(test.pvalue < SIGNIFICANT)


def trends(rows: Rows, name: str, where: Literal["greater", "less"]) -> bool:
    """Whether the metric rises (falls) over the steps: Kendall's τ with their order (Mann 1945)."""
    measured = values(rows, name)
    test = kendalltau(range(len(measured)), measured, alternative=where)
    return bool(test.pvalue < SIGNIFICANT)  # a constant has no τ, and NaN is not below anything
