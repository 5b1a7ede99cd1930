"""`maporl deploy`: a finished team as an endpoint on SageMaker: its plan and price, a question, its start."""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.confirm import confirm
from maporl_cli.cli.options import Json, Region
from maporl_cli.cli.output import emit, result, say
from maporl_cli.cli.run_or_job import local_run, say_what_run_was_meant
from maporl_cli.cli.transfer import transfer
from maporl_cli.core.errors import Interrupted, MissingError, UsageError

if TYPE_CHECKING:
    from maporl_cli.backends.sagemaker.endpoint_model import JobModel
    from maporl_cli.backends.sagemaker.endpoint_plan import EndpointPlan
    from maporl_cli.core.config import Config
    from maporl_cli.core.config_sagemaker import SageMakerConfig
    from maporl_cli.core.run_dir import RunDir


def deploy(
    source: Annotated[
        str, typer.Argument(metavar="RUN|JOB", help="A finished run here, or a training job that completed.")
    ],
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="TYPE", help="Its machine (default: ml.g5.2xlarge).")
    ] = None,
    asynchronous: Annotated[
        bool, typer.Option("--async", help="Questions and answers go by way of S3, and may take an hour.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of the endpoint (default: the run's).")
    ] = None,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ARN", help="The role that it runs as.")
    ] = None,
    bucket: Annotated[
        str | None, typer.Option("--bucket", metavar="B", help="For its model, and what goes by way of S3.")
    ] = None,
    region: Region = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one key of sagemaker. Repeatable."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="USD", min=0, help="Make none that costs more than this a day."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the requests that would make it, and send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    json: Json = False,
) -> None:
    """Make an endpoint on SageMaker that answers with a team; it costs until it is deleted."""
    flags = {
        "sagemaker.inference_instance": instance,
        "sagemaker.role": role,
        "sagemaker.bucket": bucket,
        "sagemaker.region": region,
    }
    team, config, settings, session = _team_of(source, sets or (), flags)

    from maporl_cli.backends.sagemaker.endpoint_plan import plan_endpoint
    from maporl_cli.backends.sagemaker.endpoints import refuse_no_name
    from maporl_cli.backends.sagemaker.plan import job_name
    from maporl_cli.core.run_dir import RunDir

    run = team if isinstance(team, RunDir) else None
    called = name or job_name(source if run is None else str(config.run.name), resume=False)
    refuse_no_name(called)
    plan = plan_endpoint(
        config,
        settings,
        session,
        name=called,
        source=team,
        asynchronous=asynchronous,
        max_cost=max_cost,
    )
    for line in _lines(plan):
        say(line)
    if dry_run:
        emit(plan.requests) if json else result(jsonlib.dumps(plan.requests, indent=2))
        return
    _make(plan, run, yes=yes)
    done = {"endpoint": called, "status": "InService", "asynchronous": asynchronous, "model": plan.model}
    if json:
        emit({"event": "done", **done})
    else:
        result(called)
    say(f"{plan.command('test')} asks it; {plan.command('delete')} ends what it costs")


def _make(plan: EndpointPlan, run: RunDir | None, *, yes: bool) -> None:
    """Ask, make it, and wait until it answers.

    Raises:
        MaporlError: something is missing, AWS refuses, it failed, or somebody says no.
    """
    from maporl_cli.backends.sagemaker.endpoint_launch import (
        check_endpoint,
        create_endpoint,
        send_model,
        wait,
    )

    place = check_endpoint(plan)
    unmade = Interrupted(f"{plan.name} was not made.", fix="make it with the same command")
    try:
        if not yes:
            confirm(
                f"Make {plan.name}?",
                command="--yes makes it without asking, --dry-run shows it",
                otherwise=unmade,
            )
        if run is not None:
            say(f"packing {run.final_model}, and sending it to {plan.model}")
            with transfer(None) as on_bytes:
                send_model(run, place, plan, on_bytes)
    except KeyboardInterrupt:
        raise unmade from None
    create_endpoint(plan, say)
    say(f"{plan.name} is being made, which takes minutes. Ctrl-C leaves it alone.")
    wait(plan, say)


def _team_of(
    source: str, sets: Sequence[str], flags: dict[str, str | None]
) -> tuple[RunDir | JobModel, Config, SageMakerConfig, Any]:
    """The run that is here, or the job's model; the team's config; how to deploy it; and where.

    Raises:
        UsageError: something else is set than how to deploy it.
        MaporlError: there is no such run or job, or it has no final model.
    """
    from maporl_cli.backends.sagemaker.endpoint_model import config_of_job, config_of_run
    from maporl_cli.core.config_yaml import to_yaml
    from maporl_cli.data.aws import aws_session

    if odd := [item for item in sets if not item.strip().startswith("sagemaker.")]:
        raise UsageError(
            f"--set {odd[0].partition('=')[0]} means nothing to an endpoint.",
            why="a team is served as it was trained",
            fix="leave it out; only keys of sagemaker can be set here",
        )
    run = local_run(source)
    if run is not None:
        config = config_of_run(run)
        settings = _settings(run.config.read_text(encoding="utf-8"), sets, flags)
        return run, config, settings, aws_session(settings.region)
    session = aws_session(_region(sets, flags))
    try:
        config, model = config_of_job(session, source)
    except MissingError:
        say_what_run_was_meant(source)
        raise
    return model, config, _settings(to_yaml(config), sets, flags), session


def _region(sets: Sequence[str], flags: dict[str, Any]) -> str | None:
    """The region where a job is, which has to be known before its own config is; None: as AWS's says."""
    from maporl_cli.core.config_sources import load_config

    key, variable = "sagemaker.region", "MAPORL_SAGEMAKER__REGION"
    return load_config(
        environ={name: value for name, value in os.environ.items() if name == variable},
        sets=[item for item in sets if item.partition("=")[0].strip() == key],
        flags={key: flags[key]},
    ).config.sagemaker.region


def _settings(text: str, sets: Sequence[str], flags: dict[str, Any]) -> SageMakerConfig:
    """The section `sagemaker` of a config, over which the environment and the command line have their say."""
    from tempfile import TemporaryDirectory

    from maporl_cli.core.config_sources import load_config

    with TemporaryDirectory(prefix="maporl-") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(text, encoding="utf-8")
        return load_config(file=file, environ=os.environ, sets=sets, flags=flags).config.sagemaker


def _lines(plan: EndpointPlan) -> Iterator[str]:
    """What the endpoint is, what it needs, what it costs, and what may be asked of it."""
    from maporl_cli.backends.sagemaker.endpoint_ask import AT_ONCE
    from maporl_cli.backends.sagemaker.endpoint_plan import DAY, MONTH
    from maporl_cli.backends.sagemaker.endpoint_request import ANSWERING
    from maporl_cli.backends.sagemaker.instances import device_of
    from maporl_cli.serving.requests import BODY, CHARACTERS, ROWS

    settings, machine = plan.settings, plan.machine
    size = "unknown" if machine.bytes is None else f"{machine.bytes / 2**30:.0f} GiB"
    kind = f"{machine.gpus} × GPU of {size}" if machine.gpus else f"no GPU, {size} of RAM"
    yield f"endpoint {plan.name}, run {plan.config.run.name}, in {settings.region}"
    yield f"on {settings.inference_instance} ({kind}), one worker"
    yield f"image {plan.image}"
    yield f"role {settings.role}"
    yield f"model {plan.model}"
    if settings.secrets:
        yield f"without sagemaker.secrets ({', '.join(settings.secrets)}), which only jobs read"
    if isinstance(plan.memory, str):
        yield f"memory unknown: {plan.memory}"
    else:
        device = device_of(machine, settings.inference_instance)
        usable = "" if device is None else f" of {device.usable / 1e9:.1f} GB that can be filled"
        for number, need in enumerate(plan.memory):
            where = f"GPU {number}" if machine.gpus else "RAM"
            yield (
                f"{where}: {need.peak / 1e9:.1f} GB{usable} (weights {need.model / 1e9:.1f}, "
                f"a question {need.cache / 1e9:.1f}, process {need.process / 1e9:.1f})"
            )
    if isinstance(plan.price, str):
        yield f"price unknown ({plan.price}), for as long as the endpoint is there"
    else:
        hourly = plan.price.hourly
        yield (
            f"price ${hourly:.4g} an hour (list of {plan.price.date}): ${hourly * DAY:,.2f} a day, "
            f"${hourly * MONTH:,.2f} a month of {MONTH} h, asked or not, until it is deleted"
        )
    seconds = ANSWERING if plan.asynchronous else AT_ONCE
    yield (
        f"a request: up to {ROWS} questions of {CHARACTERS:,} characters, {BODY // 2**20} MiB, "
        f"{seconds:,} s{', by way of S3' if plan.asynchronous else ''}; one at a time"
    )
