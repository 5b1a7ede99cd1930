"""Plots with two measured axes: lines over steps, predictions against what came of them, counts by letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from maporl_cli.monitoring.drawing import COLOURS, GUIDE, SOFT, WIDTH, new_figure, on_a_line, style, svg
from maporl_cli.training.calibration import Bin

_STYLES = ("-", "--", "-.", ":")
_LETTER = 26
"""Points that the name of a count has at least, however many there are."""
MAX_POINTS = 60
"""Points a line: what is longer is drawn as means, which are smaller and can be told apart."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot: `values[i]` was measured at `steps[i]`, or None where it was not finite."""

    label: str
    steps: Sequence[int]
    values: Sequence[float | None]


def line_plot(name: str, series: Sequence[Series], *, share: bool = False) -> str:
    """Lines over steps.

    Args:
        name: unique within the page; part of every id in the SVG.
        series: at least one; long ones are drawn as means of equal stretches of steps.
        share: the values are shares in [0, 1], shown as per cent on a fixed axis.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with style():
        figure = new_figure(2.9, layout="constrained")
        axes = figure.subplots()
        for index, line in enumerate(series):
            steps, values = _thinned(line.steps, line.values)
            axes.plot(
                steps,
                values,
                label=line.label,
                color=COLOURS[index % len(COLOURS)],
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
            axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, symbol=" %"))
        figure.legend(loc="outside upper left", ncols=2, frameon=False)
        return svg(figure, name)


def reliability_plot(name: str, bins: Sequence[Bin]) -> str:
    """What was predicted against what was observed, a dot a bin, its area by the bin's count."""
    from matplotlib.ticker import PercentFormatter

    most = max(one.count for one in bins)
    with style():
        figure = new_figure(3.4, layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, linestyle="--", gid=GUIDE)
        axes.plot(
            [one.predicted for one in bins], [one.observed for one in bins], color=COLOURS[0], linewidth=1.0
        )
        axes.scatter(
            [one.predicted for one in bins],
            [one.observed for one in bins],
            s=[10 + 90 * one.count / most for one in bins],
            color=COLOURS[0],
        )
        axes.set_xlabel("said to be right")
        axes.set_ylabel("right")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(xmax=1, symbol=" %"))
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        return svg(figure, name)


def count_plot(name: str, counts: Mapping[str, int], *, apart: str) -> str:
    """An upright bar a count, in the mapping's order, the count above it.

    Args:
        apart: which bar is of another kind than the rest, and grey.
    """
    with style():
        figure = new_figure(2.4, layout="constrained")
        axes = figure.subplots()
        colours = ["#9a9a9a" if label == apart else COLOURS[0] for label in counts]
        bars = axes.bar(range(len(counts)), list(counts.values()), width=0.7, color=colours)
        axes.bar_label(bars, padding=2, fontsize=8, color=SOFT)
        room = max(_LETTER, 72 * WIDTH / len(counts) - 6)
        axes.set_xticks(range(len(counts)), [on_a_line(label, room) for label in counts], parse_math=False)
        # Two letters shall not look like two walls.
        missing = max(0, 5 - len(counts)) / 2
        axes.set_xlim(-0.6 - missing, len(counts) - 0.4 + missing)
        axes.tick_params(axis="x", length=0)
        axes.tick_params(axis="y", left=False, labelleft=False)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.margins(y=0.12)
        return svg(figure, name)


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
