"""Plots as SVG text that stands by itself: no script, no font file, nothing to fetch."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from textwrap import fill
from typing import Any, cast

from maporl_cli.training.calibration import Bin

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
"""Okabe and Ito's palette: told apart with any kind of colour vision."""
_STYLES = ("-", "--", "-.", ":")
MAX_POINTS = 60
"""Points a line: what is longer is drawn as means, which are smaller and can be told apart."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot: `values[i]` was measured at `steps[i]`, or None where it was not finite."""

    label: str
    steps: Sequence[int]
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of an interval plot: a share in [0, 1] with its 95 % interval."""

    label: str
    value: float
    low: float
    high: float


def line_plot(name: str, series: Sequence[Series], *, share: bool = False) -> str:
    """Lines over steps.

    Args:
        name: unique within the page; part of every id in the SVG.
        series: at least one; long ones are drawn as means of equal stretches of steps.
        share: the values are shares in [0, 1], shown as per cent on a fixed axis.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with _style():
        figure, axes = _figure(4.4, 2.9)
        for index, line in enumerate(series):
            steps, values = _thinned(line.steps, line.values)
            axes.plot(
                steps,
                values,
                label=line.label,
                color=_COLOURS[index % len(_COLOURS)],
                linestyle=_STYLES[index % len(_STYLES)],
                # A line through one point is invisible, and a few points deserve to be seen.
                marker="o" if len(steps) <= 30 else "",
                markersize=2.5,
                linewidth=1.3,
            )
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        if share:
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
        figure.legend(loc="outside upper left", ncols=2, frameon=False)
        return _svg(figure, name)


def interval_plot(name: str, rows: Sequence[Interval]) -> str:
    """A dot and its interval a row, first row on top, on an axis from 0 to 100 %."""
    from matplotlib.ticker import PercentFormatter

    with _style():
        figure, axes = _figure(4.4, 0.6 + 0.42 * len(rows))
        for place, row in enumerate(rows):
            axes.plot([row.low, row.high], [place, place], color=_COLOURS[0], linewidth=2.2)
            axes.plot([row.value], [place], color=_COLOURS[0], marker="o", markersize=6)
        axes.set_yticks(range(len(rows)), [fill(row.label, 20) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
        return _svg(figure, name)


def reliability_plot(name: str, bins: Sequence[Bin]) -> str:
    """What was predicted against what was observed, a dot a bin, its area by the bin's count."""
    from matplotlib.ticker import PercentFormatter

    most = max(one.count for one in bins)
    with _style():
        figure, axes = _figure(4.4, 3.4)
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle="--")
        axes.plot(
            [one.predicted for one in bins], [one.observed for one in bins], color=_COLOURS[0], linewidth=1.0
        )
        axes.scatter(
            [one.predicted for one in bins],
            [one.observed for one in bins],
            s=[10 + 90 * one.count / most for one in bins],
            color=_COLOURS[0],
        )
        axes.set_xlabel("said to be right")
        axes.set_ylabel("right")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(xmax=1))
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        return _svg(figure, name)


def _style() -> Any:
    import matplotlib

    return cast(Any, matplotlib).rc_context(
        {
            # Text stays text: searchable, a tenth of the size, and set in the reader's own font.
            "svg.fonttype": "none",
            "svg.hashsalt": "maporl",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.6,
            "axes.edgecolor": "#888888",
        }
    )


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of that many inches and its axes; without pyplot, which would keep every figure alive."""
    from matplotlib.figure import Figure

    figure = cast(Any, Figure)(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Any, name: str) -> str:
    target = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(target, format="svg", transparent=True, metadata=nothing)
    svg = target.getvalue()
    # Several drawings share a page, and matplotlib gives all of them the same ids.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])
    return svg.replace("<svg ", '<svg role="img" ', 1)


def _thinned(steps: Sequence[int], values: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """At most `MAX_POINTS` points, each the mean of a stretch; unmeasured values are left out."""
    points = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    count = min(len(points), MAX_POINTS)
    # Even stretches: a short last one would be noisier than the rest and look like news.
    bounds = [index * len(points) // count for index in range(count + 1)] if count else []
    stretches = [points[start:end] for start, end in pairwise(bounds)]
    return (
        [fmean(step for step, _ in part) for part in stretches],
        [fmean(value for _, value in part) for part in stretches],
    )
