"""Plots of one row a thing: its name and figures on a line of their own, and its mark on a track below.

Names above their marks leave the whole width to the marks, on a narrow screen as well, and the tracks of all
these plots begin and end at the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maporl_cli.monitoring.drawing import (
    COLOURS,
    GUIDE,
    SOFT,
    WIDTH,
    new_figure,
    on_a_line,
    style,
    svg,
    width_of,
)

_ROW, _SIDE, _TOP, _BOTTOM = 0.42, 0.06, 0.04, 0.26
"""Inches: a row's height, and the room beside, above and below all rows."""
_WORDS, _TRACK, _TRACK_HEIGHT = 0.3, 0.76, 0.32
"""In rows: where the words and the track have their middle, and the track's height."""
_BETWEEN = 10
"""Points between a row's label and its note."""
_PALE, _TICK = "#f1f3f5", "#d5d9dd"
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """A share, or a difference of shares, with its 95 % interval; `note` stands at the right of the label."""

    label: str
    value: float
    low: float
    high: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A value that is not negative."""

    label: str
    value: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """How often something was gained, and lost."""

    label: str
    gained: int
    lost: int
    note: str = ""


def interval_plot(name: str, rows: Sequence[Interval], *, chance: float | None = None) -> str:
    """A dot and its interval a row, first row on top, on an axis from 0 to 100 %.

    Args:
        chance: the share that guessing gets, marked in each row.
    """
    with style():
        figure, axes = _tracks(rows, _SHARES, [f"{100 * share:.0f} %" for share in _SHARES], guide=chance)
        _draw_intervals(axes, rows)
        return svg(figure, name)


def difference_plot(name: str, rows: Sequence[Interval]) -> str:
    """A dot and its interval a row, around a marked zero, in percentage points."""
    ends = [end for row in rows for end in (row.low, row.high)]
    with style():
        ticks = _ticks(min(-0.05, *ends), max(0.05, *ends))
        told = [f"{100 * tick:+.3g}".replace("-", "−") if tick else "0" for tick in ticks]
        figure, axes = _tracks(rows, ticks, told, guide=0.0)
        _draw_intervals(axes, rows)
        return svg(figure, name)


def bar_plot(name: str, rows: Sequence[Bar]) -> str:
    """A bar a row, first row on top, on an axis from 0 to 1."""
    with style():
        figure, axes = _tracks(rows, _SHARES, [f"{value:.1g}" for value in _SHARES])
        for place, row in enumerate(rows):
            axes.barh(place + _TRACK, row.value, height=_TRACK_HEIGHT, color=COLOURS[0])
        return svg(figure, name)


def change_plot(name: str, rows: Sequence[Change], *, lost: str, gained: str) -> str:
    """Two bars a row, from the middle: what was lost to the left, what was gained to the right.

    Args:
        lost, gained: what the two sides are, in words.
    """
    most = max(1, *(count for row in rows for count in (row.gained, row.lost)))
    with style():
        ticks = _ticks(-most, most, whole=True)
        figure, axes = _tracks(rows, ticks, [f"{abs(tick):.0f}" for tick in ticks], guide=0.0, head=0.24)
        for place, row in enumerate(rows):
            for side, count, colour in ((-1, row.lost, COLOURS[1]), (1, row.gained, COLOURS[0])):
                if count:
                    axes.barh(place + _TRACK, side * count, height=_TRACK_HEIGHT, color=colour)
        for at, align, words, colour in ((0, "left", f"← {lost}", 1), (1, "right", f"{gained} →", 0)):
            axes.annotate(
                words,
                (at, 1),
                xycoords="axes fraction",
                xytext=(0, 4),
                textcoords="offset points",
                ha=align,
                va="bottom",
                color=COLOURS[colour],
                weight="bold",
            )
        return svg(figure, name)


def _tracks(
    rows: Sequence[Interval | Bar | Change],
    ticks: Sequence[float],
    told: Sequence[str],
    *,
    guide: float | None = None,
    head: float = 0.0,
) -> tuple[Any, Any]:
    """A figure, and axes that hold every row's words and its empty track.

    Args:
        ticks, told: ascending; the first and the last are the track's ends.
        guide: a value that is marked on every track.
        head: inches above the first row.
    """
    inside = _ROW * len(rows)
    height = _TOP + head + inside + _BOTTOM
    figure = new_figure(height)
    axes = figure.add_axes((_SIDE / WIDTH, _BOTTOM / height, 1 - 2 * _SIDE / WIDTH, inside / height))
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_ylim(len(rows), 0)
    axes.set_yticks([])
    axes.set_xticks(ticks, told)
    # Their words end where the tracks do, and these begin where the page's text does.
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(axis="x", length=0, labelsize=8, labelcolor=SOFT)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    middles, half = [place + _TRACK for place in range(len(rows))], _TRACK_HEIGHT / 2
    under: dict[str, Any] = {"zorder": 0.5, "gid": GUIDE}
    axes.barh(middles, ticks[-1] - ticks[0], left=ticks[0], height=_TRACK_HEIGHT, color=_PALE, **under)
    grid = [(tick, middle) for middle in middles for tick in ticks]
    _upright(axes, grid, half, color=_TICK, linewidth=0.6, **under)
    if guide is not None:
        marked = [(guide, middle) for middle in middles]
        _upright(axes, marked, 1.5 * half, color=SOFT, linewidth=1.2, zorder=1.5, gid=GUIDE)
    for place, row in enumerate(rows):
        label = on_a_line(row.label, 72 * (WIDTH - 2 * _SIDE) - width_of(row.note) - _BETWEEN)
        for at, align, words, colour in ((0, "left", label, "black"), (1, "right", row.note, SOFT)):
            axes.text(
                at,
                place + _WORDS,
                words,
                transform=axes.get_yaxis_transform(),
                ha=align,
                va="center",
                color=colour,
                parse_math=False,
            )
    return figure, axes


def _upright(axes: Any, points: Sequence[tuple[float, float]], half: float, **look: Any) -> None:
    """A line through each point, up and down as far as `half`."""
    axes.vlines([x for x, _ in points], [y - half for _, y in points], [y + half for _, y in points], **look)


def _draw_intervals(axes: Any, rows: Sequence[Interval]) -> None:
    for place, row in enumerate(rows):
        middle = place + _TRACK
        axes.plot([row.low, row.high], [middle, middle], color=COLOURS[0], linewidth=2.2, clip_on=False)
        axes.plot([row.value], [middle], color=COLOURS[0], marker="o", markersize=6, clip_on=False)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers around both, zero among them where it is between."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(low, high)
    return [0.0 if abs(tick) < 1e-9 else float(tick) for tick in found]
