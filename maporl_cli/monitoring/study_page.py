"""`report.html` of a study: its winner, how sure that is, what mattered, and every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maporl_cli.monitoring.console import duration
from maporl_cli.monitoring.report import write_page
from maporl_cli.monitoring.row_plots import Bar, Interval, bar_plot, interval_plot
from maporl_cli.monitoring.wording import percent


def write_study(path: Path, found: Mapping[str, Any], seeds: Sequence[Interval]) -> Path:
    """Write the page of a study.

    Args:
        path: of the page.
        found: what `tuning.results.study_results` gives.
        seeds: the winner as it was found, and with fresh seeds, as shares of the tuning questions.

    Returns:
        the page's path.
    """
    return write_page(
        path,
        "study.html.j2",
        name=Path(found["study"]).name,
        found=found,
        objective=objective_name(found),
        sure=sureness(found),
        seeds=interval_plot("seeds", seeds) if len(seeds) > 1 else "",
        importance=bar_plot(
            "importance", [Bar(key, share, f"{share:.2f}") for key, share in found["importance"].items()]
        )
        if found["importance"]
        else "",
        seconds={trial["trial"]: duration(trial["seconds"]) for trial in found["trials"] if trial["seconds"]},
    )


def objective_name(found: Mapping[str, Any]) -> str:
    """What a study made as high as could be, as the head of a column."""
    return str(found["objective"]).removeprefix("eval:").replace("_", " ")


def sureness(found: Mapping[str, Any]) -> str:
    """How far the winner's value can be relied on, as a sentence."""
    best, trials = found["best"], len(found["trials"])
    lost = f" {len(best['failed_seeds'])} more failed." if best["failed_seeds"] else ""
    own = f"{percent(best['value'])} is the best of {trials} trials, and so partly luck"
    if not best["seeds"]:
        return f"{own}; no fresh seed was tried.{lost}"
    count = len(best["seeds"])
    told = f"{own}; {count} fresh seed{'s' if count > 1 else ''} came to {percent(best['mean'])}"
    if best["ci95"] is not None:
        low, high = best["ci95"]
        told += f" on average (95 % t interval {percent(low)} to {percent(high)})"
    return f"{told}, on the same {found['tuning_questions']} tuning questions.{lost}"
