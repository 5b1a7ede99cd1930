"""`maporl train --on sagemaker`: what the job is and may cost, a question, and its start."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from maporl_cli.cli.confirm import confirm
from maporl_cli.cli.log_lines import line_printer
from maporl_cli.cli.output import emit, result, say
from maporl_cli.cli.plan import placement_lines, placement_part
from maporl_cli.cli.summary import summary
from maporl_cli.cli.transfer import transfer
from maporl_cli.core.errors import ConfigError, Interrupted, MaporlError

if TYPE_CHECKING:
    from maporl_cli.backends.sagemaker.plan import JobPlan
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
    from maporl_cli.backends.sagemaker.checks import check_job
    from maporl_cli.backends.sagemaker.launch import start_job
    from maporl_cli.backends.sagemaker.plan import plan_job

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
        confirm(
            f"Start {job.name}?",
            command="--yes starts it without asking, --dry-run shows it",
            otherwise=Interrupted(f"{job.name} was not started.", fix="start it with the same command"),
        )
    with transfer(None) as on_bytes:
        start_job(job, bucket, on_bytes)
    say(f"Started {job.name}. Ctrl-C leaves it alone; maporl jobs stop {job.name} stops it.")
    if not detach:
        _bring_home(job, json=json)
    elif json:
        emit({"event": "started", "job": job.name, "run": job.config.run.name})
    else:
        result(job.name)


def _bring_home(plan: JobPlan, *, json: bool) -> None:
    """Watch the job to its end, and make a run here of what it left.

    Raises:
        RunFailed: it failed, or was stopped; what it left is here all the same.
        Interrupted: Ctrl-C; the job goes on.
    """
    from maporl_cli.backends.sagemaker.fetch import fetch
    from maporl_cli.backends.sagemaker.jobs import described, outcome
    from maporl_cli.backends.sagemaker.logs import follow
    from maporl_cli.core.run_dir import read_object

    follow(plan.session, plan.name, rank=None, show=line_printer(stderr=True), say=say)
    job = described(plan.session, plan.name)
    ended = outcome(job.description)
    try:
        run = fetch(plan.session, job, output_dir=None, overwrite=False, transfer=transfer).run
    except MaporlError as error:
        if ended is None:
            raise
        say(error.message)  # why the job ended matters more
    else:
        say(f"{run.path}: what {job.name} left")
        if ended is None:
            done = {"event": "done", "job": job.name, **read_object(run.results), "run": str(run.path)}
            emit(done) if json else result(summary(done))
    if ended is not None:
        raise ended


def job_lines(job: JobPlan, memory: Mapping[str, Any]) -> Iterator[str]:
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


def job_memory(job: JobPlan) -> Mapping[str, Any]:
    """The part of a plan that says what each rank needs, against the GPUs of the instance."""
    from maporl_cli.cli.plan_memory import memory_part
    from maporl_cli.training.fit import Device

    name = job.config.sagemaker.instance
    device = Device(f"GPU of {name}", job.gpus.bytes, shared=False) if job.gpus.count else None
    return memory_part(job.config, job.placement, device)


def price_lines(job: JobPlan) -> Iterator[str]:
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


def _refuse_unfit(job: JobPlan, memory: Mapping[str, Any]) -> None:
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
