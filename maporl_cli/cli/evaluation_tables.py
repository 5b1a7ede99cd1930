"""What an evaluation found, as tables on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from maporl_cli.cli.output import result
from maporl_cli.monitoring.wording import probability

if TYPE_CHECKING:
    from rich.table import Table

_LABELS = 32
"""Columns of a screen that the names of figures need at least."""


def show(found: Mapping[str, Any]) -> None:
    """An evaluation on stdout: a row a system, what each agent adds, and where the records are."""
    # Imported here: the help needs no tables.
    from rich.console import Console

    console = Console()
    systems: dict[str, Mapping[str, Any]] = {"team": found, **(found.get("baselines") or {})}
    console.print(_systems(systems))
    for table in (_comparisons(found), _conversation(found), _contributions(found)):
        if table is not None:
            console.print(table)
    for part in _side_by_side(systems, console.width):
        console.print(_further(part))
    if "consistency" in found:
        result(f"same option when they stand in another order: {found['consistency']:.1%}")
    for kind in ("alarm", "caution"):
        if found.get(kind):
            result(f"{kind}: {found[kind]}")
    result(f"records: {found['records']}")


def _table(title: str, first: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _systems(systems: Mapping[str, Mapping[str, Any]]) -> Table:
    """The team and its baselines."""
    columns = ("accuracy", "95 % interval", "above chance", "unreadable", "tokens")
    table = _table("", "system", *columns)
    table.columns[0].no_wrap = True
    for label, figures in systems.items():
        votes = f" of {figures['votes']}" if "votes" in figures else ""
        table.add_row(
            f"{label}{votes}",
            f"{figures['accuracy']:.1%}",
            _interval(figures["ci95"]),
            f"{figures['above_chance']:.1%}",
            f"{figures['invalid_share']:.1%}",
            f"{figures['tokens_per_question']:.0f}",
        )
    table.caption = f"{systems['team']['n']} questions; tokens are read and sampled ones a question"
    return table


def _comparisons(found: Mapping[str, Any]) -> Table | None:
    """The team against each baseline, on the same questions."""
    if not found["comparisons"]:
        return None
    table = _table("By how much the team is better", "than", "difference", "95 % interval", "p (Holm)")
    for label, compared in found["comparisons"].items():
        difference = f"{compared['difference']:+.1%}"
        table.add_row(label, difference, _interval(compared["ci95"]), probability(compared["p_holm"]))
    return table


def _conversation(found: Mapping[str, Any]) -> Table | None:
    turns = [turn for turn in found["conversation"] if turn["stances"]]
    if not turns or len(found["conversation"]) == 1:  # a single turn has nobody's answer to change
        return None
    table = _table("How the answer changed", "turn", "stands for an answer", "wrong → right", "right → wrong")
    for turn in turns:
        told = (
            f"{turn['stances']} of {turn['turns']}",
            str(turn["wrong_to_right"]),
            str(turn["right_to_wrong"]),
        )
        table.add_row(f"{turn['agent']}, round {turn['round'] + 1}", *told)
    return table


def _contributions(found: Mapping[str, Any]) -> Table | None:
    if not found["contributions"]:
        return None
    columns = ("accuracy lost", "95 % interval", "p (Holm)")
    table = _table("What an agent adds", "without a word of", *columns)
    for agent, lost in found["contributions"].items():
        difference = f"{lost['difference']:.1%}"
        table.add_row(agent, difference, _interval(lost["ci95"]), probability(lost["p_holm"]))
    return table


def _side_by_side(systems: Mapping[str, Any], width: int) -> Iterator[dict[str, Any]]:
    """The systems in parts whose names stand beside a figure's on a screen of that width."""
    part: dict[str, Any] = {}
    for name, figures in systems.items():
        if part and _LABELS + sum(len(own) + 2 for own in (*part, name)) > width:
            yield part
            part = {}
        part[name] = figures
    yield part


def _further(systems: Mapping[str, Mapping[str, Any]]) -> Table:
    """What else was measured: a column a system."""
    # Imported here: the help needs no tables.
    from rich.markup import escape

    from maporl_cli.monitoring.evaluation_tables import figure_groups

    table = _table("Further figures", "", *systems)
    for group in figure_groups(list(systems.values())):
        table.add_section()
        table.add_row(f"[bold]{group.title}[/bold]")
        for row in group.rows:
            table.add_row(f"  {escape(row.label)}", *row.cells)
    return table


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.1%} to {bounds[1]:.1%}"
