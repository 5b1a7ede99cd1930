"""`report.html`: what a run did, or an evaluation found, as one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.monitoring.console import duration
from maporl_cli.monitoring.evaluation_section import read_sections
from maporl_cli.monitoring.jsonl import read_metrics
from maporl_cli.monitoring.panels import metric_panels, reliability_panel
from maporl_cli.monitoring.plots import MAX_POINTS
from maporl_cli.monitoring.row_plots import Interval, interval_plot
from maporl_cli.monitoring.run_files import Evaluation, read_evaluations, read_examples, read_judged
from maporl_cli.monitoring.wording import percent, points, points_between, probability, setting


def write_report(run: RunDir) -> Path:
    """Write the run's `report.html` from the files in its directory, whatever of them is there yet.

    Returns:
        the page's path.
    """
    metrics = read_metrics(run.metrics)
    judged = read_judged(run)
    evaluations = read_evaluations(run)
    return write_page(
        run.report,
        "report.html.j2",
        name=run.path.name,
        facts=_facts(run, metrics),
        evaluations=evaluations,
        intervals=_intervals(evaluations),
        sections=read_sections(run.evaluation),
        panels=metric_panels(metrics) + ([reliability_panel(judged)] if judged else []),
        max_points=MAX_POINTS,
        examples=read_examples(run),
        config=run.config.read_text(encoding="utf-8") if run.config.exists() else "",
        manifest=run.manifest.read_text(encoding="utf-8") if run.manifest.exists() else "",
    )


def write_evaluations(folder: Path) -> Path:
    """Write a `report.html` of the evaluations in a folder that is no run's.

    Returns:
        the page's path.
    """
    return write_page(folder / "report.html", "evaluations.html.j2", sections=read_sections(folder))


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Write a page from one of the templates in `pages`; its path.

    The page holds its drawings as SVG and forbids, by its own content security policy, every script and
    every request. Text from models and data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("maporl_cli.monitoring", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "percent": percent,
        "points": points,
        "points_between": points_between,
        "probability": probability,
        "value": setting,
    }
    html = pages.get_template(template).render(**values)
    # Data may hold half of a surrogate pair, which UTF-8 cannot.
    atomic_write(path, html.encode("utf-8", "replace"))
    return path


def _facts(run: RunDir, metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The page's first lines; only what is known."""
    facts = {"State": "finished" if read_object(run.results) else "not finished"}
    if metrics:
        facts["Last step"] = str(metrics[-1]["step"])
    fired: dict[str, str] = {}
    for row in metrics:
        for name in row:
            if name.startswith("guard:"):
                fired.setdefault(name, f"{name.removeprefix('guard:')} at step {row['step']}")
    if fired:
        facts["Guards that fired"] = ", ".join(fired.values())
    seconds = [row["train:seconds"] for row in metrics if "train:seconds" in row]
    if seconds:
        facts["Training time"] = duration(sum(seconds))
    tokens = [row["train:tokens"] for row in metrics if "train:tokens" in row]
    if tokens:
        facts["Training tokens"] = f"{sum(tokens):,.0f}"
    return facts


def _intervals(evaluations: Sequence[Evaluation]) -> str:
    rows = [
        Interval(evaluation.label, evaluation.accuracy, *evaluation.ci95, percent(evaluation.accuracy))
        for evaluation in evaluations
        if evaluation.ci95 is not None
    ]
    return interval_plot("evaluations", rows) if rows else ""
