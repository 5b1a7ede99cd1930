"""`maporl train`: from the command line to the worker, and from its outcome to the reader."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
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
from maporl_cli.cli.place import (
    Backend,
    BucketName,
    Detach,
    Instance,
    Instances,
    JobRegion,
    MaxCost,
    Role,
    Spot,
    Yes,
    is_remote,
    refuse_misplaced,
)
from maporl_cli.cli.plan import show_plan
from maporl_cli.cli.plan_time import Measured
from maporl_cli.cli.summary import summary
from maporl_cli.cli.time_table import time_lines
from maporl_cli.core.errors import UsageError

if TYPE_CHECKING:
    from maporl_cli.core.config import Config


def train(
    backend: Annotated[
        Backend | None, typer.Argument(help="Where to train; as --on.", show_default=False)
    ] = None,
    on: Annotated[Backend | None, typer.Option("--on", help="Where to train (default: local).")] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name.", metavar="NAME")] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Where runs are kept (default: runs).", metavar="DIR")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Makes the run repeatable (default: 0).")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run --name, from its last checkpoint.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run of the same name.")] = False,
    sets: Sets = None,
    display: DisplayOption = None,
    json: Json = False,
    nproc: Nproc = None,
    max_restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts", min=0, help="Restart failed ranks so often (default: 0).", show_default=False
        ),
    ] = 0,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where each rank's time went; write profile.json.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show settings, batch arithmetic, placement, memory; change nothing."),
    ] = False,
    world_size: Annotated[
        int | None,
        typer.Option(
            "--world-size", min=1, help="With --dry-run: plan for so many ranks, here or not.", metavar="N"
        ),
    ] = None,
    rates: Annotated[
        Path | None,
        typer.Option(
            "--rates", help="With --dry-run: predict from this run, made with --profile.", metavar="RUN"
        ),
    ] = None,
    rank_price: Annotated[
        float | None,
        typer.Option("--rank-price", min=0, help="With --rates: dollars an hour of a rank.", metavar="USD"),
    ] = None,
    instance: Instance = None,
    instances: Instances = None,
    role: Role = None,
    bucket: BucketName = None,
    region: JobRegion = None,
    spot: Spot = False,
    detach: Detach = False,
    max_cost: MaxCost = None,
    yes: Yes = False,
) -> None:
    """Train a team of agents together, and evaluate it before and after."""
    remote = is_remote("train", backend, on)
    here = {"--nproc": nproc, "--max-restarts": max_restarts, "--profile": profile, "--rates": rates}
    here |= {"--overwrite": overwrite, "--world-size": world_size, "--rank-price": rank_price}
    there = {"--instance": instance, "--instances": instances, "--role": role, "--bucket": bucket}
    there |= {"--region": region, "--spot": spot, "--detach": detach, "--max-cost": max_cost, "--yes": yes}
    refuse_misplaced(here if remote else there, remote=remote)
    if resume and overwrite:
        raise UsageError("--resume keeps a run and --overwrite deletes it.", fix="give one of the two")
    if world_size is not None and not dry_run:
        raise UsageError(
            "--world-size only plans: it may be a size that this machine does not have.",
            fix=f"maporl train --dry-run --world-size {world_size}, or --nproc {world_size} to train on "
            "so many ranks here",
        )
    if rates is not None and not dry_run:
        raise UsageError(
            "--rates only plans: it predicts how long a training takes.",
            fix=f"maporl train --dry-run --rates {rates}",
        )
    if rank_price is not None and rates is None:
        raise UsageError(
            "--rank-price needs a time to multiply it with.",
            fix="maporl train --dry-run --rates runs/NAME --rank-price …, with a run made with --profile",
        )
    if rank_price is not None and not isfinite(rank_price):
        raise UsageError(
            f"--rank-price {rank_price} is no price.",
            fix="--rank-price 1.4, dollars that a rank costs an hour",
        )
    display_now = shown(display, os.environ, terminal=sys.stderr.isatty())
    flags: dict[str, Any] = {"run.name": name, "run.output_dir": output_dir, "run.seed": seed}
    for key in ("instance", "instances", "role", "bucket", "region"):
        flags[f"sagemaker.{key}"] = there[f"--{key}"]
    flags["sagemaker.spot"] = spot or None
    if remote:
        from maporl_cli.cli.launch import config_of_run, launch

        if resume and preset is None and config is None:
            with TemporaryDirectory(prefix="maporl-") as folder:
                begun = Path(folder) / "config.yaml"
                asked = _asked_of_run(sets or (), flags)
                begun.write_text(config_of_run(asked.run.name, asked.sagemaker.region), encoding="utf-8")
                told = resolve(None, begun, sets, flags).config
        else:
            told = resolve(preset, config, sets, flags).config
        launch(told, resume=resume, dry_run=dry_run, json=json, yes=yes, detach=detach, max_cost=max_cost)
        return
    if resume and preset is None and config is None:
        config = _config_of_run(sets or (), flags)
    loaded = resolve(preset, config, sets, flags)
    if dry_run:
        measured = None if rates is None else Measured(rates, rank_price)
        show_plan(loaded, world_size or nproc or default_nproc(loaded.config), json, measured)
        return

    from maporl_cli.backends.here import train_here

    outcome = train_here(
        loaded.config,
        nproc=nproc or default_nproc(loaded.config),
        max_restarts=max_restarts,
        resume=resume,
        overwrite=overwrite,
        command=shlex.join(["maporl", *sys.argv[1:]]),
        display=display_now,
        profile=profile,
    )
    if json:
        emit(outcome)
    else:
        for line in time_lines(outcome.get("profile", [])):
            result(line)
        result(summary(outcome))


def _asked_of_run(sets: Sequence[str], flags: Mapping[str, Any]) -> Config:
    """What is said of the run to go on with, and of where it is; its own config says the rest."""
    from maporl_cli.core.config_sources import load_config

    said = ("MAPORL_RUN__", "MAPORL_SAGEMAKER__REGION")
    return load_config(
        environ={key: value for key, value in os.environ.items() if key.startswith(said)},
        sets=[item for item in sets if item.lstrip().startswith(("run.", "sagemaker.region"))],
        flags=flags,
    ).config


def _config_of_run(sets: Sequence[str], flags: Mapping[str, Any]) -> Path:
    """The config of the run to go on with: a resumed run needs no other word than its name."""
    from maporl_cli.core.run_dir import RunDir, run_names

    place = _asked_of_run(sets, flags).run
    if place.name is None:
        names = ", ".join(run_names(place.output_dir))
        raise UsageError(
            "--resume needs to know which run.",
            why=f"{place.output_dir} holds {names or 'no run'}",
            fix="maporl train --resume --name NAME",
        )
    return RunDir.existing(place.output_dir / place.name).config
