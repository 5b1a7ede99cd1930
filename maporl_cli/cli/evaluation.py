"""`maporl eval`: from the command line to the worker's evaluation, and from its figures to the reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.options import (
    ConfigFile,
    DisplayOption,
    Json,
    Nproc,
    Preset,
    Sets,
    default_nproc,
    resolve,
)
from maporl_cli.cli.output import emit, result, shown
from maporl_cli.core.errors import UsageError
from maporl_cli.monitoring.wording import probability

if TYPE_CHECKING:
    from rich.table import Table

BASELINES = ("single", "untrained", "majority", "reporter_alone")
CHECKS = ("shuffled", "silenced")


def evaluate(
    benchmark: Annotated[
        str | None,
        typer.Argument(
            metavar="[BENCHMARK]",
            help="clinic, medxpert, medqa, medmcqa, pubmedqa or mmlu-medical "
            "(default: what the run held out; without a run, clinic).",
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
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Another model for the untrained agents; with --endpoint, its name at the server.",
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="An OpenAI-compatible server in the agents' place, as http://localhost:8000/v1. "
            "Its key is taken from OPENAI_API_KEY.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Of a published benchmark (default: test).")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Ask only the first N questions.", metavar="N")
    ] = None,
    sampled: Annotated[bool, typer.Option("--sampled", help="Sample answers; without it, greedy.")] = False,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Ask each question N times, sampled.")
    ] = 1,
    baselines: Annotated[
        str | None,
        typer.Option(
            "--baselines",
            metavar="LIST",
            help=f"Compare with these, comma-separated: {', '.join(BASELINES)}; or none "
            "(default: all there are).",
            show_default=False,
        ),
    ] = None,
    checks: Annotated[
        str,
        typer.Option(
            "--checks",
            metavar="LIST",
            help="Ask the team again: `shuffled` options, each agent `silenced` in turn; or none "
            "(default: both).",
            show_default=False,
        ),
    ] = ",".join(CHECKS),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an evaluation that was cut short.")
    ] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of what is drawn.", metavar="N")] = None,
    sets: Sets = None,
    display: DisplayOption = None,
    json: Json = False,
    nproc: Nproc = None,
) -> None:
    """Evaluate a team: accuracy with its 95 % interval, and a record of every answer."""
    if benchmark is not None and data is not None:
        raise UsageError(
            "A benchmark and --data name two sets of questions.",
            why=f"benchmark {benchmark}, file {data}",
            fix="give one of the two",
        )
    if split is not None and benchmark is None:
        raise UsageError("--split needs a published benchmark.", fix=f"maporl eval medxpert --split {split}")
    if run is not None and (preset is not None or config is not None):
        raise UsageError(
            "--run brings its own settings.",
            why=f"--{'preset' if preset is not None else 'config'} would replace those of the run",
            fix="leave it out; single keys can be changed with --set",
        )
    if run is not None and (model is not None or endpoint is not None):
        raise UsageError(
            "--run brings its own policies.",
            why=f"--{'model' if model is not None else 'endpoint'} would put others in their place",
            fix=f"evaluate the run's settings with others: --config {run}/config.yaml in the place of --run",
        )
    wanted = None if baselines is None else listed(baselines, BASELINES, "--baselines")
    display_now = shown(display, os.environ, terminal=sys.stderr.isatty())
    if run is not None:
        from maporl_cli.core.run_dir import RunDir

        config = RunDir.existing(run).config
    flags = {"run.seed": seed, "model.name": model if endpoint is None else None}
    # The roles of `clinic` speak in six words of a language that only tiny policies know.
    loaded = resolve(preset, config, sets, flags, default_preset="clinic" if endpoint is None else "medxpert")

    from maporl_cli.worker import Request, evaluate_run

    request = Request(
        run=run,
        benchmark=benchmark,
        data=data,
        split=split,
        limit=limit,
        sampled=sampled or seeds > 1,
        seeds=seeds,
        baselines=wanted,
        checks=listed(checks, CHECKS, "--checks"),
        endpoint=endpoint,
        model=model if endpoint is not None else None,
        resume=resume,
    )
    nproc = nproc or default_nproc(loaded.config)
    if nproc == 1:
        found = evaluate_run(loaded.config, request, display=display_now)
    else:
        from maporl_cli.backends.local import evaluate_on_ranks

        found = evaluate_on_ranks(loaded.config, request, nproc=nproc, display=display_now)
    if json:
        emit(found)
    else:
        show(found)


def listed(text: str, known: Sequence[str], option: str) -> tuple[str, ...]:
    """The names of a comma-separated list, each once, in the order of `known`; `none` is an empty one.

    Raises:
        UsageError: one of them is not known; the error names the nearest.
    """
    names = {name.strip() for name in text.split(",") if name.strip()} - {"none"}
    for name in sorted(names - set(known)):
        meant = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise UsageError(
            f"{option} knows no {name!r}.",
            why=f"there are: {', '.join(known)}, none",
            fix=f"{option} {meant}",
        )
    return tuple(name for name in known if name in names)


def show(found: Mapping[str, Any]) -> None:
    """An evaluation on stdout: a row a system, what each agent adds, and where the records are."""
    # Imported here: the help needs no tables.
    from rich.console import Console

    console = Console()
    console.print(_systems(found))
    for table in (_conversation(found), _contributions(found)):
        if table is not None:
            console.print(table)
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


def _systems(found: Mapping[str, Any]) -> Table:
    """The team and its baselines; the last columns compare the team with each."""
    table = _table(
        "",
        "system",
        *(
            "accuracy",
            "95 % interval",
            "above chance",
            "unreadable",
            "tokens",
            "team is better by",
            "p (Holm)",
        ),
    )
    baselines: Mapping[str, Mapping[str, Any]] = found.get("baselines") or {}
    for label, figures in {"team": found, **baselines}.items():
        compared = found["comparisons"].get(label)
        table.add_row(
            label,
            f"{figures['accuracy']:.1%}",
            _interval(figures["ci95"]),
            f"{figures['above_chance']:.1%}",
            f"{figures['invalid_share']:.1%}",
            f"{figures['tokens_per_question']:.0f}",
            "" if compared is None else f"{compared['difference']:+.1%}, {_interval(compared['ci95'])}",
            "" if compared is None else probability(compared["p_holm"]),
        )
    table.caption = f"{found['n']} questions; tokens are read and sampled ones a question"
    return table


def _conversation(found: Mapping[str, Any]) -> Table | None:
    turns = [turn for turn in found["conversation"] if turn["stances"]]
    if not turns:
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
    table = _table("What an agent adds", "without a word of", "accuracy lost", "p (Holm)")
    for agent, lost in found["contributions"].items():
        table.add_row(
            agent, f"{lost['difference']:.1%}, {_interval(lost['ci95'])}", probability(lost["p_holm"])
        )
    return table


def _interval(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.1%} to {bounds[1]:.1%}"
