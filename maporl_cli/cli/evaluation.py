"""`maporl eval`: from the command line to the worker's evaluation, and from its figures to the reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from maporl_cli.cli.options import ConfigFile, DisplayOption, Json, Preset, Sets, resolve
from maporl_cli.cli.output import emit, result, shown
from maporl_cli.core.errors import UsageError

BASELINES = ("single", "untrained", "reporter_alone")


def evaluate(
    benchmark: Annotated[
        str | None,
        typer.Argument(
            metavar="[BENCHMARK]",
            help="What to evaluate on. [what the run held out; without a run: clinic]",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="The run to evaluate; without it, the untrained team."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", readable=False, help="A file of questions instead of a benchmark."
        ),
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Ask only the first N questions.", metavar="N")
    ] = None,
    sampled: Annotated[bool, typer.Option("--sampled", help="Sample answers; without it, greedy.")] = False,
    baselines: Annotated[
        str,
        typer.Option(
            "--baselines",
            metavar="LIST",
            help=f"Also evaluate these, comma-separated: {', '.join(BASELINES)}.",
            show_default=False,
        ),
    ] = "",
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of what is drawn.", metavar="N")] = None,
    sets: Sets = None,
    display: DisplayOption = None,
    json: Json = False,
) -> None:
    """Evaluate a team: accuracy with its 95 % interval, and a record of every answer."""
    if benchmark is not None and data is not None:
        raise UsageError(
            "A benchmark and --data name two sets of questions.",
            why=f"benchmark {benchmark}, file {data}",
            fix="give one of the two",
        )
    if run is not None and (preset is not None or config is not None):
        raise UsageError(
            "--run brings its own settings.",
            why=f"--{'preset' if preset is not None else 'config'} would replace those of the run",
            fix="leave it out; single keys can be changed with --set",
        )
    wanted = parse_baselines(baselines)
    display_now = shown(display, os.environ, terminal=sys.stderr.isatty())
    if run is not None:
        from maporl_cli.core.run_dir import RunDir

        config = RunDir.existing(run).config
    loaded = resolve(preset, config, sets, {"run.seed": seed})

    from maporl_cli.worker import evaluate_run

    found = evaluate_run(
        loaded.config,
        run=run,
        benchmark=benchmark,
        data=data,
        limit=limit,
        sampled=sampled,
        baselines=wanted,
        display=display_now,
    )
    if json:
        emit(found)
    else:
        show(found)


def parse_baselines(text: str) -> tuple[str, ...]:
    """The baselines that a comma-separated list names, each once, in its order.

    Raises:
        UsageError: one of them does not exist; the error names the nearest.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in BASELINES:
            meant = get_close_matches(name, BASELINES, n=1, cutoff=0.0)[0]
            raise UsageError(
                f"There is no baseline {name!r}.",
                where="--baselines",
                why=f"there are: {', '.join(BASELINES)}",
                fix=f"--baselines {meant}",
            )
    return names


def show(found: Mapping[str, Any]) -> None:
    """An evaluation as a table on stdout, a row a system, and where its records are."""
    # Imported here: the help needs no tables.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("system")
    for name in ("accuracy", "95 % interval", "questions", "unreadable"):
        table.add_column(name, justify="right")
    baselines: Mapping[str, Mapping[str, Any]] = found.get("baselines") or {}
    for label, figures in {"team": found, **baselines}.items():
        low, high = figures["ci95"]
        table.add_row(
            label,
            f"{figures['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}",
            str(figures["n"]),
            str(figures["invalid"]),
        )
    Console().print(table)
    if "caution" in found:
        result(f"caution: {found['caution']}")
    result(f"records: {found['records']}")
