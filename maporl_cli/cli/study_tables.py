"""What a study came to, as tables on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maporl_cli.cli.output import result
from maporl_cli.monitoring.wording import setting


def show_study(found: Mapping[str, Any]) -> None:
    """Every trial, what mattered, the winner and how sure it is, and where all of it lies."""
    # Imported here: the help needs no tables.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from maporl_cli.monitoring.study_page import objective_name, sureness

    console, best, keys = Console(), found["best"], list(found["space"])
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("trial", objective_name(found), *_short(keys)):
        table.add_column(column, justify="right", overflow="fold")
    for trial in found["trials"]:
        value = trial["state"] if trial["value"] is None else f"{trial['value']:.3f}"
        won = trial["trial"] == best["trial"]
        values = (setting(trial["values"].get(key, "–")) for key in keys)
        table.add_row(str(trial["trial"]), value, *values, style="bold" if won else None)
    if found["importance"]:
        table.add_section()
        shares = found["importance"]
        table.add_row("", f"importance ({found['finished']} trials)", *(f"{shares[key]:.2f}" for key in keys))
    console.print(table)
    result(sureness(found))
    result(f"best: {best['config']} (maporl train --config {best['config']} --name NEW)")
    result(f"report: {found['study']}/report.html")


def _short(keys: Sequence[str]) -> list[str]:
    """The last word of each, where no two are the same."""
    words = [key.rpartition(".")[2] for key in keys]
    return words if len(set(words)) == len(words) else list(keys)
