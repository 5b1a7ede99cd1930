"""`maporl train --on sagemaker`: what the job is and may cost, a question, and its start."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from maporl_cli.cli.confirm import confirm
from maporl_cli.cli.log_lines import line_printer
from maporl_cli.cli.output import emit, result, say
from maporl_cli.cli.plan import placement_lines
from maporl_cli.cli.summary import summary
from maporl_cli.cli.transfer import transfer
from maporl_cli.core.errors import ConfigError, Interrupted, MaporlError, UsageError

if TYPE_CHECKING:
    from maporl_cli.backends.sagemaker.plan import JobPlan
    from maporl_cli.core.config import Config
    from maporl_cli.data.s3 import Bucket

_ELSEWHERE = "another --name; or --detach, and maporl jobs fetch to another --output-dir"


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
    from maporl_cli.backends.sagemaker.launch import create_job, send_inputs
    from maporl_cli.backends.sagemaker.plan import plan_job

    job = plan_job(config, resume=resume, max_cost=max_cost)
    if not detach:
        _refuse_occupied(job, resume=resume)
    for line in job_lines(job):
        say(line.rstrip())
    if dry_run:
        request = job.request(lambda file, key: None)
        if json:
            emit(request)
        else:
            result(jsonlib.dumps(request, indent=2))
        return
    bucket = check_job(job, resume=resume)
    if resume and not detach:
        _refuse_own_run(job, bucket)
    unstarted = Interrupted(f"{job.name} was not started.", fix="start it with the same command")
    try:
        if not yes:
            confirm(
                f"Start {job.name}?",
                command="--yes starts it without asking, --dry-run shows it",
                otherwise=unstarted,
            )
        with transfer(None) as on_bytes:
            request = send_inputs(job, bucket, on_bytes)
    except KeyboardInterrupt:
        raise unstarted from None
    create_job(job, request)
    say(f"Started {job.name}. Ctrl-C leaves it alone; maporl jobs stop {job.name} stops it.")
    if not detach:
        try:
            _bring_home(job, bucket, resume=resume, json=json)
        except KeyboardInterrupt:
            raise Interrupted(
                f"What {job.name} leaves was not brought here.",
                fix=f"maporl jobs show {job.name} tells how it fares; once it has ended, maporl jobs fetch "
                f"{job.name}{' --overwrite' if resume else ''} brings its run",
            ) from None
    elif json:
        emit({"event": "started", "job": job.name, "run": job.config.run.name})
    else:
        result(job.name)


def config_of_run(name: str | None, region: str | None) -> str:
    """The config of the run to go on with, as YAML: that of the newest job that trained it.

    Raises:
        UsageError: it is not said which.
        MissingError: there is no such job, or it is not ours.
    """
    from maporl_cli.backends.sagemaker.fetch import local_config
    from maporl_cli.backends.sagemaker.jobs import described, our_jobs
    from maporl_cli.backends.sagemaker.plan import job_name
    from maporl_cli.core.config_yaml import to_yaml
    from maporl_cli.data.aws import aws_session

    if name is None:
        raise UsageError("--resume needs to know which run.", fix="--resume --name NAME")
    session = aws_session(region)
    newest = our_jobs(session, 1, run=name)
    # The search takes a while to know of a job; the run's first has its name.
    job = newest[0] if newest else described(session, job_name(name, resume=False))
    return to_yaml(local_config(session, job, None))


def _bring_home(plan: JobPlan, bucket: Bucket, *, resume: bool, json: bool) -> None:
    """Watch the job to its end, and make a run here of what it left.

    Raises:
        RunFailed: it failed, or was stopped; what it left is here all the same.
        Interrupted: Ctrl-C; the job goes on.
    """
    from maporl_cli.backends.sagemaker.fetch import fetch
    from maporl_cli.backends.sagemaker.going_on import is_earlier_state
    from maporl_cli.backends.sagemaker.jobs import described, outcome
    from maporl_cli.backends.sagemaker.logs import follow
    from maporl_cli.core.run_dir import RunDir, read_object

    follow(plan.session, plan.name, rank=None, show=line_printer(stderr=True), say=say)
    job = described(plan.session, plan.name)
    ended = outcome(job.description)
    try:
        # Looked at once more: the run here may have been begun, or gone on, while the job did.
        earlier = resume and is_earlier_state(RunDir.of(plan.config), plan, bucket)
        run = fetch(plan.session, job, output_dir=None, overwrite=earlier, transfer=transfer).run
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


def _refuse_occupied(job: JobPlan, *, resume: bool) -> None:
    """Nothing, where the run can come home.

    Raises:
        ConfigError: another one is there, which would be noticed once the job has ended.
    """
    from maporl_cli.core.run_dir import RunDir, refuse_changed_science

    run = RunDir.of(job.config)
    if not run.is_there(otherwise=_ELSEWHERE):
        return
    if not resume:
        raise ConfigError(f"The run {run.path} exists, where the job's would come to lie.", fix=_ELSEWHERE)
    if run.config.is_file():
        refuse_changed_science(run.load_config(), job.config, where=str(run.path))


def _refuse_own_run(job: JobPlan, bucket: Bucket) -> None:
    """Nothing, where what is here of the run is an earlier state of what the job goes on with.

    Raises:
        ConfigError: a run of that name was trained here, or went on here, and would be lost.
    """
    from maporl_cli.backends.sagemaker.going_on import is_earlier_state
    from maporl_cli.core.run_dir import RunDir

    run = RunDir.of(job.config)
    if run.is_there(otherwise=_ELSEWHERE) and not is_earlier_state(run, job, bucket):
        raise ConfigError(
            f"The run {run.path} is not the one that the job goes on with, or was gone on with here.",
            why="its manifest is no earlier state of the one beside the job's checkpoints, and what the job "
            "leaves would take its place",
            fix=f"move {run.path} away; or --detach, and maporl jobs fetch to another --output-dir",
        )


def job_lines(job: JobPlan) -> Iterator[str]:
    """What the job is, where its agents are, what that needs, and what it may cost."""
    from maporl_cli.cli.plan_memory import memory_lines
    from maporl_cli.worker.memory_plan import placement_part

    settings, machine = job.config.sagemaker, job.machine
    region = str(settings.region)
    size = "unknown" if machine.bytes is None else f"{machine.bytes / 2**30:.0f} GiB"
    kind = f"{machine.gpus} GPUs of {size} each" if machine.gpus else f"no GPU, {size} of RAM"
    kind += f", says {machine.source}" if machine.source else ""
    yield f"job {job.name}, run {job.config.run.name}, in {region}"
    yield (
        f"on {settings.instances} × {settings.instance} ({kind}){', spot capacity' if settings.spot else ''}"
    )
    yield f"image {job.image}"
    yield f"role {settings.role}"
    for side, asked in job.inputs.data.items():
        yield f"{side} questions {asked.uri}"
    where = placement_part(job.placement)
    yield from placement_lines(where)
    yield from memory_lines(job.memory, where)
    yield from price_lines(job)


def price_lines(job: JobPlan) -> Iterator[str]:
    """The price, of which day it is, and the most that the job can cost."""
    settings = job.config.sagemaker
    hours = settings.longest / 3600
    if isinstance(job.price, str):
        yield f"price unknown ({job.price}); limit {hours:.3g} h × {settings.instances}"
        return
    less = "; spot capacity costs less" if settings.spot else ""
    yield (
        f"price ${job.price.hourly:.4g} an hour on demand (list of {job.price.date}) × {hours:.3g} h × "
        f"{settings.instances} = at most ${job.limit:,.2f}, without storage and transfer{less}"
    )
