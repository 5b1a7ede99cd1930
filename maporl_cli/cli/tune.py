"""`maporl tune`: search for the settings that teach a team best."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
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
from maporl_cli.cli.output import emit, say, shown
from maporl_cli.cli.place import (
    Backend,
    BucketName,
    Detach,
    Instance,
    JobRegion,
    MaxCost,
    Role,
    Spot,
    Yes,
    is_remote,
    refuse_misplaced,
)
from maporl_cli.core.errors import UsageError

if TYPE_CHECKING:
    from maporl_cli.core.config import Config


def tune(
    backend: Annotated[
        Backend | None, typer.Argument(help="Where to search; as --on.", show_default=False)
    ] = None,
    on: Annotated[Backend | None, typer.Option("--on", help="Where to search (default: local).")] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    name: Annotated[str | None, typer.Option("--name", help="The study's name.", metavar="NAME")] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Where studies are kept (default: runs).", metavar="DIR"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Makes the study repeatable (default: 0).")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="How many (default: 12).", metavar="N")
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option("--parallel", min=1, help="Trials at once (default: as GPUs allow, or 1).", metavar="N"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study --name; no trial is repeated.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a study of the same name.")] = False,
    sets: Sets = None,
    display: DisplayOption = None,
    json: Json = False,
    nproc: Nproc = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show settings, what is searched, and memory; change nothing.")
    ] = False,
    instance: Instance = None,
    role: Role = None,
    bucket: BucketName = None,
    region: JobRegion = None,
    spot: Spot = False,
    detach: Detach = False,
    max_cost: MaxCost = None,
    yes: Yes = False,
) -> None:
    """Try many settings, train the best again with fresh seeds, and say how sure that is."""
    remote = is_remote("tune", backend, on)
    there = {"--instance": instance, "--role": role, "--bucket": bucket, "--region": region}
    there |= {"--spot": spot, "--detach": detach, "--max-cost": max_cost, "--yes": yes}
    refuse_misplaced({"--nproc": nproc} if remote else there, remote=remote)
    if resume and overwrite and not remote:
        raise UsageError("--resume keeps a study and --overwrite deletes it.", fix="give one of the two")
    quiet = shown(display, os.environ, terminal=sys.stderr.isatty()) == "none"
    flags: dict[str, Any] = {"run.name": name, "run.output_dir": output_dir, "run.seed": seed}
    flags |= {"tune.max_trials": trials, "tune.parallel": parallel, "sagemaker.spot": spot or None}
    flags |= {f"sagemaker.{key}": there[f"--{key}"] for key in ("instance", "role", "bucket", "region")}
    if remote:
        from maporl_cli.cli.launch_study import launch_study, watch_study

        if resume:

            def told(study: Path) -> Config:
                own = study if preset is None and config is None else config
                return resolve(preset, own, sets, flags).config

            place = _place(sets or (), flags, "run", "sagemaker")
            watch_study(place, told, overwrite=overwrite, json=json)
            return
        launch_study(
            resolve(preset, config, sets, flags).config,
            overwrite=overwrite,
            dry_run=dry_run,
            json=json,
            yes=yes,
            detach=detach,
            max_cost=max_cost,
        )
        return
    if resume and preset is None and config is None:
        config = _config_of_study(sets or (), flags)
    loaded = resolve(preset, config, sets, flags)
    if dry_run:
        from maporl_cli.cli.plan import show_plan
        from maporl_cli.tuning.space import distributions

        distributions(loaded.config)
        show_plan(loaded, nproc or default_nproc(loaded.config), json)
        return

    from torch import cuda

    from maporl_cli.cli.study_tables import show_study
    from maporl_cli.tuning.tune import tune as search

    found = search(
        loaded.config,
        nproc=nproc or default_nproc(loaded.config),
        gpus=cuda.device_count(),
        resume=resume,
        overwrite=overwrite,
        say=(lambda text: None) if quiet else say,
    )
    if json:
        emit(found)
    else:
        show_study(found)


def _place(sets: Sequence[str], flags: Mapping[str, Any], *sections: str) -> Config:
    """What is said of these sections alone, before it is known which study's config lies below."""
    from maporl_cli.core.config_sources import load_config

    keys = tuple(f"{section}." for section in sections)
    variables = tuple(f"MAPORL_{section.upper()}__" for section in sections)
    return load_config(
        environ={key: value for key, value in os.environ.items() if key.startswith(variables)},
        sets=[item for item in sets if item.startswith(keys)],
        flags={key: value for key, value in flags.items() if key.startswith(keys)},
    ).config


def _config_of_study(sets: Sequence[str], flags: Mapping[str, Any]) -> Path:
    """The config of the study to go on with: it needs no other word than its name."""
    from maporl_cli.tuning.study_dir import StudyDir, study_names

    place = _place(sets, flags, "run")
    if place.run.name is None:
        names = ", ".join(study_names(place.run.output_dir))
        raise UsageError(
            "--resume needs to know which study.",
            why=f"{place.run.output_dir} holds {names or 'none'}",
            fix="maporl tune --resume --name NAME",
        )
    return StudyDir.existing(StudyDir.of(place).path).config
