"""Where the time of a run with `--profile` went, as a table with a column a rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from maporl_cli.cli.plan import WIDTH
from maporl_cli.core.time_spent import OTHER, PARTS

_SIDE_BY_SIDE = 4
"""Ranks that fit beside each other."""

_LITTLE = 0.005
"""A part of less than this share of every rank's run would be a row of noughts."""

_MOST = 16
"""Ranks beyond these are left to `--json`."""

Rank = Mapping[str, Any]
"""As `core.time_spent.RankTime.to_json` tells it."""


def time_lines(ranks: Sequence[Rank]) -> Iterator[str]:
    """The lines of the table; none where no time was told.

    A part of a phase stands below it, indented; the phases add up to the run.
    """
    if not ranks:
        return
    shown = ranks[:_MOST]
    for start in range(0, len(shown), _SIDE_BY_SIDE):
        yield from _table(shown[start : start + _SIDE_BY_SIDE])
    if len(ranks) > len(shown):
        yield f"Those are {len(shown)} of {len(ranks)} ranks; --json tells of all."


def rows(ranks: Sequence[Rank]) -> list[tuple[str, list[float]]]:
    """Each row's name, and its seconds on each of the ranks: phases, their parts, at last the run."""
    found: list[tuple[str, list[float]]] = []
    # Each rank tells its phases in the order in which they began, the rest at the end.
    phases = dict.fromkeys(phase for rank in ranks for phase in rank["phases"])
    for phase in sorted(phases, key=lambda name: name == OTHER):
        told = [rank["phases"].get(phase, {"seconds": 0.0, "parts": {}}) for rank in ranks]
        found.append((phase, [one["seconds"] for one in told]))
        for part in PARTS:
            seconds = [one["parts"].get(part, 0.0) for one in told]
            if any(own > _LITTLE * rank["seconds"] for own, rank in zip(seconds, ranks, strict=True)):
                found.append((f"  {part}", seconds))
    return [*found, ("run", [rank["seconds"] for rank in ranks])]


def _table(ranks: Sequence[Rank]) -> Iterator[str]:
    # Imported here: the help needs no tables.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("seconds in", no_wrap=True)
    for rank in ranks:
        table.add_column(f"rank {rank['rank']}", justify="right", no_wrap=True)
    *phases, run = rows(ranks)
    for name, seconds in phases:
        table.add_row(name, *map(_cell, seconds, run[1]))
    table.add_row(run[0], *map(_cell, run[1], run[1]))
    text = StringIO()
    Console(file=text, width=WIDTH, no_color=True).print(table)
    yield from (line.rstrip() for line in text.getvalue().strip("\n").splitlines() if line.strip())


def _cell(seconds: float, whole: float) -> str:
    """Seconds, and their share of the whole."""
    return f"{seconds:,.1f}  {seconds / whole if whole else 0.0:4.0%}"
