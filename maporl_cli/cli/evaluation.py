"""`maporl eval`: from the command line to the worker's evaluation, and from its figures to the reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maporl_cli.cli.evaluation_tables import show
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
from maporl_cli.cli.output import emit, shown
from maporl_cli.core.errors import UsageError
from maporl_cli.core.systems import BASELINES, CHECKS, unknown


class Scoring(StrEnum):
    """How an answer is come by."""

    generated = "generated"
    loglikelihood = "loglikelihood"


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
            "(default: all there are but zero_shot).",
            show_default=False,
        ),
    ] = None,
    checks: Annotated[
        str | None,
        typer.Option(
            "--checks",
            metavar="LIST",
            help="Ask the team again: `shuffled` options, each agent `silenced` in turn; or none "
            "(default: both).",
            show_default=False,
        ),
    ] = None,
    scoring: Annotated[
        Scoring,
        typer.Option(
            "--scoring",
            help="Read answers from what is said, or have the last agent's model say nothing and weigh the "
            "options' letters, as published MMLU figures do.",
        ),
    ] = Scoring.generated,
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
        raise UsageError("--split needs a published benchmark.", fix=f"maporl eval medqa --split {split}")
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
    letters = scoring is Scoring.loglikelihood
    default = () if letters else CHECKS
    checked = default if checks is None else listed(checks, CHECKS, "--checks")
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
        endpoint=endpoint,
        model=model if endpoint is not None else None,
        checks=checked,
        loglikelihood=letters,
        resume=resume,
    )
    request.refuse_contradictions()
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
        raise unknown(name, known, option)
    return tuple(name for name in known if name in names)
