"""`maporl train --on sagemaker`: what the job is and may cost, a question, and its start."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from maporl_cli.cli.output import emit, result, say
from maporl_cli.cli.plan import placement_lines, placement_part
from maporl_cli.cli.transfer import transfer
from maporl_cli.core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from maporl_cli.backends.sagemaker.launch import Job
    from maporl_cli.core.config import Config


def launch(
    config: Config,
    *,
    resume: bool,
    dry_run: bool,
    json: bool,
    yes: bool,
    detach: bool,
    max_cost: float | None,
) -> None:
    """Start the training of `config` as a job, watch it, and bring home what it leaves.

    Args:
        dry_run: print the request that would start it, and send nothing.
        yes: do not ask.
        detach: leave it alone once it has started.
        max_cost: US dollars; a job that may cost more is not started.

    Raises:
        MaporlError: something is missing, contradicts itself or costs too much; nothing was started then.
    """
    from maporl_cli.backends.sagemaker.launch import check_job, plan_job, start_job

    job = plan_job(config, resume=resume, max_cost=max_cost)
    memory = job_memory(job)
    for line in job_lines(job, memory):
        say(line.rstrip())
    _refuse_unfit(job, memory)
    if dry_run:
        request = job.request(lambda file, key: None)
        if json:
            emit(request)
        else:
            result(jsonlib.dumps(request, indent=2))
        return
    bucket = check_job(job, resume=resume)
    if not yes:
        _ask(job)
    with transfer(None) as on_bytes:
        start_job(job, bucket, on_bytes)
    say(f"Started {job.name}: maporl jobs show {job.name}")
    if detach:
        if json:
            emit({"event": "started", "job": job.name, "run": job.config.run.name})
        else:
            result(job.name)


def job_lines(job: Job, memory: Mapping[str, Any]) -> Iterator[str]:
    """What the job is, where its agents are, what that needs, and what it may cost."""
    from maporl_cli.cli.plan_memory import memory_lines

    settings, gpus = job.config.sagemaker, job.gpus
    region = str(settings.region)
    kind = f"{gpus.count} GPUs of {gpus.bytes / 2**30:.0f} GiB each" if gpus.count else "no GPU"
    yield f"job {job.name}, run {job.config.run.name}, in {region}"
    yield (
        f"on {settings.instances} × {settings.instance} ({kind}){', spot capacity' if settings.spot else ''}"
    )
    yield f"image {job.image}"
    yield f"role {settings.role}"
    for side, (uri, file) in job.inputs.data.items():
        yield f"{side} questions {uri}{file.name}"
    where = placement_part(job.placement)
    yield from placement_lines(where)
    yield from memory_lines(memory, where)
    yield from price_lines(job)


def job_memory(job: Job) -> Mapping[str, Any]:
    """The part of a plan that says what each rank needs, against the GPUs of the instance."""
    from maporl_cli.cli.plan_memory import memory_part
    from maporl_cli.training.fit import Device

    name = job.config.sagemaker.instance
    device = Device(f"GPU of {name}", job.gpus.bytes, shared=False) if job.gpus.count else None
    return memory_part(job.config, job.placement, device)


def price_lines(job: Job) -> Iterator[str]:
    """The price, of which day it is, and the most that the job can cost."""
    settings = job.config.sagemaker
    hours = (settings.max_runtime + settings.keep_alive) / 3600
    if isinstance(job.price, str):
        yield f"price unknown ({job.price}); limit {hours:.3g} h × {settings.instances}"
        return
    less = "; spot capacity costs less" if settings.spot else ""
    yield (
        f"price ${job.price.hourly:.4g} an hour on demand (list of {job.price.date}) × {hours:.3g} h × "
        f"{settings.instances} = at most ${job.limit:,.2f}{less}"
    )


def _refuse_unfit(job: Job, memory: Mapping[str, Any]) -> None:
    """A job that would run out of memory costs money and ends in an error."""
    from maporl_cli.cli.plan_memory import fix_of

    if not memory.get("advice"):
        return
    raise ConfigError(
        f"The team does not fit on {job.config.sagemaker.instance}.",
        where="sagemaker.instance",
        why="a rank needs more memory than its GPU has, as told above",
        fix=fix_of(memory, placement_part(job.placement)),
    )


def _ask(job: Job) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "Starting a job costs money, and nobody can be asked here.",
            fix="--yes starts it without asking; --dry-run shows it",
        )
    typer.confirm(f"Start {job.name}?", abort=True, err=True)
