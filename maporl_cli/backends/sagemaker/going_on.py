"""Whether a job can go on with a run: the run is there, nobody trains it now, and it means the same still."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from maporl_cli.backends.sagemaker.jobs import Job, our_jobs
from maporl_cli.backends.sagemaker.plan import JobPlan
from maporl_cli.backends.sagemaker.request import checkpoints_of
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.manifest import refuse_other_data
from maporl_cli.core.run_dir import RunDir, read_object, refuse_changed_science
from maporl_cli.data.s3 import Bucket, place_of

_LOOKED_AT = 100
"""Jobs of one run: its newest ones, behind which none goes on."""


def check_run(job: JobPlan, bucket: Bucket, *, resume: bool) -> None:
    """Whether the job begins a run, or goes on with one, as it was told to.

    Raises:
        ConfigError: it does the other, another job trains the run, or it would go on with something else than
            the run was started with.
        DataError: data or plug-ins have another content than the run was started with.
    """
    _, prefix = place_of(checkpoints_of(job.config))
    begun = bool(bucket.others(prefix, ()))
    if begun and not resume:
        raise ConfigError(
            f"There are checkpoints of a run {job.config.run.name} already.",
            where=checkpoints_of(job.config),
            why="the job would go on with them",
            fix="--resume goes on with that run; another --name leaves it alone",
        )
    if not resume:
        return
    _refuse_trained_now(job)
    if not begun:
        raise ConfigError(
            f"There are no checkpoints of a run {job.config.run.name}.",
            where=checkpoints_of(job.config),
            fix="leave out --resume, or correct --name, --bucket or sagemaker.prefix",
        )
    with TemporaryDirectory(prefix="maporl-") as folder:
        started = _brought(job, bucket, Path(folder))
        # Found out here, and not by an instance that costs.
        if started.config.is_file():
            name = str(job.config.run.name)
            refuse_changed_science(started.load_config(), job.inputs.config, where=name)
        data: Mapping[str, str] | None = read_object(started.manifest).get("data")
    if data is not None:
        before = {job.inputs.here.get(name, name): digest for name, digest in data.items()}
        # Of questions that are only in S3 nobody here knows the content.
        unknown = before if job.inputs.elsewhere else {}
        refuse_other_data(before, {**unknown, **job.sources})


def is_earlier_state(run: RunDir, job: JobPlan, bucket: Bucket) -> bool:
    """Whether all that is in a run's directory here came from the jobs of that run.

    Its manifest tells how the run began, and each time that it was gone on with, wherever that was.
    """
    with TemporaryDirectory(prefix="maporl-") as folder:
        there = read_object(_brought(job, bucket, Path(folder)).manifest)
    here = read_object(run.manifest)
    sittings = here.pop("resumed", [])
    return bool(here) and there.pop("resumed", [])[: len(sittings)] == sittings and there == here


def _refuse_trained_now(job: JobPlan) -> None:
    """Nothing, where no job trains the run: two would write over each other's checkpoints."""
    address = checkpoints_of(job.config)
    for one in our_jobs(job.session, _LOOKED_AT, run=str(job.config.run.name)):
        if not one.ended and one.checkpoints in (None, address):
            raise _trained_now(one, str(job.config.run.name))


def _trained_now(job: Job, run: str) -> ConfigError:
    return ConfigError(
        f"The job {job.name} trains the run {run} now.",
        why=f"it is {job.status}, and two jobs would write over each other's checkpoints",
        fix=f"maporl logs {job.name} -f waits for its end, maporl jobs stop {job.name} brings it about",
    )


def _brought(job: JobPlan, bucket: Bucket, folder: Path) -> RunDir:
    """What the run's checkpoints tell of how it was started; not each file has to be there."""
    _, prefix = place_of(checkpoints_of(job.config))
    run = RunDir(folder)
    for file in (run.config, run.manifest):
        key = f"{prefix}{job.config.run.name}/{file.name}"
        if bucket.size(key) is not None:
            bucket.download(key, file, lambda _: None)
    return run
