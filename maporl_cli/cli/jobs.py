"""`maporl jobs`: the training jobs on SageMaker: listed, shown, stopped, and their results brought here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.confirm import confirm
from maporl_cli.cli.options import Json, Region
from maporl_cli.cli.output import emit, result, say
from maporl_cli.core.errors import Interrupted, MissingError

if TYPE_CHECKING:
    from maporl_cli.backends.sagemaker.jobs import Job

app = typer.Typer(no_args_is_help=True, help="List, show, stop and fetch training jobs on SageMaker.")

Name = Annotated[str, typer.Argument(metavar="JOB", help="The job's name.")]


@app.command("ls")
def list_jobs(
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 20,
    region: Region = None,
    json: Json = False,
) -> None:
    """List the jobs that maporl launched, newest first."""
    from maporl_cli.backends.sagemaker.jobs import our_jobs
    from maporl_cli.data.aws import aws_session

    found = our_jobs(aws_session(region), limit)
    if json:
        emit({"jobs": [_facts(job) for job in found]})
    elif found:
        _show_table(found)
    else:
        say("There is no job of maporl's here. maporl train --on sagemaker launches one.")


@app.command()
def show(job: Name, region: Region = None, json: Json = False) -> None:
    """Show all of one job: states, cost, metrics, and where its files are."""
    from maporl_cli.backends.sagemaker.jobs import described
    from maporl_cli.backends.sagemaker.logs import change_line
    from maporl_cli.data.aws import aws_session

    found = described(aws_session(region), job)
    if json:
        emit(_facts(found) | _more_facts(found))
        return
    saving = found.spot_saving
    trained = found.description.get("TrainingTimeInSeconds")
    rows: dict[str, str | None] = {
        "job": found.name,
        "run": found.run or "none: it was not launched by maporl",
        "status": _status(found),
        "instances": _instances(found),
        "started": _time(found.started),
        "ended": _time(found.description.get("TrainingEndTime")),
        "time": None if trained is None else f"{trained:,} s",
        "billed": f"{_seconds(found)}{'' if saving is None else f', {saving:.0%} less for being spot'}",
        "cost": _cost(found) + _rate(found),
        "failure": found.failure or None,
        "models": found.model,
        "output": found.output,
        "checkpoints": found.checkpoints,
        "log": f"maporl logs {found.name}",
    }
    for name, value in rows.items():
        if value is not None:
            result(f"{name:<12} {value}")
    for change in found.description.get("SecondaryStatusTransitions", []):
        result(f"{'state':<12} {change_line(change)}")
    for metric in found.description.get("FinalMetricDataList", []):
        result(f"{'metric':<12} {metric['MetricName']} = {metric['Value']:.6g}")


@app.command()
def stop(
    job: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    region: Region = None,
) -> None:
    """Stop a job, or a tuning job with all of its trials; it has two minutes to write a checkpoint first."""
    from maporl_cli.backends.sagemaker import jobs
    from maporl_cli.data.aws import aws_session

    session = aws_session(region)
    try:
        found = jobs.described(session, job)
    except MissingError:
        if not _stopped_study(session, job, yes=yes):
            raise
        return
    if not found.ended and found.status != "Stopping":
        say(_what_becomes_of(found))
        if not yes:
            confirm(
                f"Stop {job}?",
                command=f"maporl jobs stop {job} --yes",
                otherwise=Interrupted(f"{job} goes on.", fix=f"maporl logs {job} -f to watch it"),
            )
        found = jobs.stop(session, job)
    if found.ended:
        result(f"{job} has ended already: {found.status}.")
    else:
        result(f"{job} is being stopped. maporl logs {job} -f shows how it ends.")


@app.command()
def fetch(
    job: Name,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", metavar="DIR", help="Where the run's directory is made (default: as its config)."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is there.")] = False,
    region: Region = None,
    json: Json = False,
) -> None:
    """Bring a job's models and outputs here, as a run for eval, ask and report."""
    from maporl_cli.backends.sagemaker import jobs
    from maporl_cli.backends.sagemaker.fetch import fetch
    from maporl_cli.cli.transfer import transfer
    from maporl_cli.data.aws import aws_session

    session = aws_session(region)
    found = jobs.described(session, job)
    fetched = fetch(session, found, output_dir=output_dir, overwrite=overwrite, transfer=transfer)
    ended = jobs.outcome(found.description)
    if ended is not None:
        say(f"{ended.what} Why: {ended.why}")
    for lacking in fetched.lacking:
        say(f"{job} left nothing of {lacking}: the run here is without.")
    if json:
        facts = {"job": job, "status": found.status, "run": str(fetched.run.path)}
        emit({**facts, "lacking": fetched.lacking})
        return
    result(f"{fetched.run.path}: all that {job} left")


def _stopped_study(session: Any, name: str, *, yes: bool) -> bool:
    """Whether there is a tuning job of that name, which is then asked to stop."""
    from maporl_cli.backends.sagemaker.tuning_job import ENDED, described_tuning, stop_tuning

    try:
        status = described_tuning(session, name)["HyperParameterTuningJobStatus"]
    except MissingError:
        return False
    if status in ENDED:
        result(f"{name} has ended already: {status}.")
        return True
    if not yes:
        confirm(
            f"Stop {name} and all of its trials?",
            command=f"maporl jobs stop {name} --yes",
            otherwise=Interrupted(f"{name} goes on.", fix="maporl tune --on sagemaker --resume to watch it"),
        )
    stop_tuning(session, name)
    result(f"{name} is being stopped. maporl tune --on sagemaker --resume brings home what it found.")
    return True


def _what_becomes_of(job: Job) -> str:
    kept = f"It stays at {job.checkpoints}" if job.checkpoints else "It goes into its output"
    ours = "" if job.run else f"{job.name} was not launched by maporl. "
    return (
        f"{ours}{job.name} is {_status(job)}. Asked to stop, it has 120 seconds to write a checkpoint. "
        f"{kept}, and maporl jobs fetch {job.name} brings what it wrote once it has stopped."
    )


def _show_table(found: list[Job]) -> None:
    """Columns as wide as what they hold: no name is cut, wherever it is shown."""
    rows = [("JOB", "STATUS", "INSTANCES", "STARTED", "BILLED", "COST", "RUN")]
    for job in found:
        started = _time(job.started) or "not yet"
        rows.append(
            (job.name, _status(job), _instances(job), started, _seconds(job), _cost(job), str(job.run))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        result("  ".join(cells).rstrip())


def _status(job: Job) -> str:
    return job.status if job.secondary == job.status else f"{job.status} ({job.secondary})"


def _instances(job: Job) -> str:
    return f"{job.instances} × {job.instance}{' (spot)' if job.spot else ''}"


def _seconds(job: Job) -> str:
    return "unknown" if job.billable is None else f"{job.billable:,} s"


def _cost(job: Job) -> str:
    if job.usd is None:
        return "unknown"
    return f"{'at most ' if job.spot else ''}${job.usd:,.2f}{'' if job.ended else ' so far'}"


def _rate(job: Job) -> str:
    if job.usd_per_hour is None:
        return ""
    from maporl_cli.backends.sagemaker.jobs import PRICE_DATE_TAG

    return (
        f" (${job.usd_per_hour:g} an hour and instance on demand, {job.tags.get(PRICE_DATE_TAG, 'undated')})"
    )


def _time(when: datetime | None) -> str | None:
    return None if when is None else f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _facts(job: Job) -> dict[str, Any]:
    return {
        "job": job.name,
        "run": job.run,
        "status": job.status,
        "secondary_status": job.secondary,
        "instance": job.instance,
        "instances": job.instances,
        "spot": job.spot,
        "started": _time(job.started),
        "billable_seconds": job.billable,
        "usd": None if job.usd is None else round(job.usd, 4),
        "usd_is_upper_limit": job.spot,
    }


def _more_facts(job: Job) -> dict[str, Any]:
    from maporl_cli.backends.sagemaker.jobs import PRICE_DATE_TAG
    from maporl_cli.core.harmless import harmless

    changes = job.description.get("SecondaryStatusTransitions", [])
    return {
        "ended": _time(job.description.get("TrainingEndTime")),
        "training_seconds": job.description.get("TrainingTimeInSeconds"),
        "spot_saving": job.spot_saving,
        "usd_per_hour": job.usd_per_hour,
        "price_date": job.tags.get(PRICE_DATE_TAG),
        "failure": job.failure or None,
        "states": [
            {
                "status": change["Status"],
                "from": _time(change["StartTime"]),
                "to": _time(change.get("EndTime")),
                "message": harmless(change.get("StatusMessage", "")),
            }
            for change in changes
        ],
        "metrics": {
            one["MetricName"]: one["Value"] for one in job.description.get("FinalMetricDataList", [])
        },
        "model": job.model,
        "output": job.output,
        "checkpoints": job.checkpoints,
    }
