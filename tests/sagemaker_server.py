"""What tests of jobs need of the server that plays AWS: jobs in any state, their logs, what moto lacks."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from boto3.session import Session
from botocore.loaders import create_loader
from conftest import AWS_SECRET
from moto.backends import get_backend
from moto.core.responses import ActionResult
from moto.logs.models import LogStream
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.responses import SageMakerResponse
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.errors import MaporlError

ACCOUNT, REGION, BUCKET = "123456789012", "eu-west-1", "maporl-jobs"
GROUP = "/aws/sagemaker/TrainingJobs"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


_MODELS = create_loader()


def share_models(monkeypatch: Any) -> None:
    """What AWS tells of its services is read once for all sessions: it is 0.2 s of each command."""
    monkeypatch.setattr("botocore.session.create_loader", lambda *_: _MODELS)


@cache
def client(service: str, address: str) -> Any:
    """Of somebody who may do everything, whatever the tests do to the user's credentials."""
    return Session("AKIAROOT", "secret", region_name=REGION).client(service, endpoint_url=address)


def root(service: str) -> Any:
    return client(service, os.environ["AWS_ENDPOINT_URL"])


def backend(service: str) -> Any:
    return get_backend(service)[ACCOUNT][REGION]


def reset() -> None:
    """No job, and no line of any."""
    backend("sagemaker").training_jobs.clear()
    backend("logs").groups.clear()


def create_job(
    name: str, *, run: str | None = "demo", tags: dict[str, str] | None = None, **more: Any
) -> Any:
    """Creates a job as the launch does; returns it as the server holds it, for any state to be set."""
    tags = ({} if run is None else {"maporl:run": run}) | (tags or {})
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::123456789012:role/jobs",
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/maporl/jobs"},
        "ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "InputDataConfig": [
            {
                "ChannelName": "config",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://{BUCKET}/maporl/jobs/{name}/input/config",
                    }
                },
            }
        ],
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    root("sagemaker").create_training_job(**(request | more))
    return backend("sagemaker").training_jobs[name]


def set_state(job: Any, status: str, secondary: str | None = None, *, reason: str | None = None) -> None:
    job.training_job_status, job.secondary_status = status, secondary or status
    job.failure_reason = reason
    if status in ("InProgress", "Stopping"):
        job.training_end_time = None


def changes(*steps: tuple[str, str]) -> list[dict[str, Any]]:
    """Transitions; every second one begins when the one before does."""
    return [
        {"Status": status, "StartTime": START + timedelta(minutes=n // 2), "StatusMessage": message}
        for n, (status, message) in enumerate(steps)
    ]


def put_lines(stream: str, *events: str | tuple[int, str]) -> None:
    """Adds events to a stream, which is made if need be; without a time they are a millisecond apart."""
    client = root("logs")
    if GROUP not in backend("logs").groups:
        client.create_log_group(logGroupName=GROUP)
    if stream not in backend("logs").groups[GROUP].streams:
        client.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    now = int(datetime.now(UTC).timestamp() * 1000)
    told = [(now + n, event) if isinstance(event, str) else event for n, event in enumerate(events)]
    if told:
        client.put_log_events(
            logGroupName=GROUP,
            logStreamName=stream,
            logEvents=[{"timestamp": when, "message": text} for when, text in told],
        )


def page_by(monkeypatch: Any, events: int, streams: int) -> None:
    """Small pages, where CloudWatch has large ones, and empty ones in between."""
    read, listed = LogStream.get_log_events, type(backend("logs")).describe_log_streams

    def small_page(self: Any, start: Any, end: Any, limit: Any, token: str | None, head: Any) -> Any:
        del limit
        if token is not None and not token.startswith("f/+"):
            after, before = token.replace("f/", "f/+"), token
            position = int(token[2:])
            if position + 1 < len(self.events):  # not at the end, and yet nothing, and another token
                return [], before, after
        found, back, forward = read(self, start, end, events, token, head)
        if token is not None and int(forward[2:]) == int(token[2:]):
            forward = token
        return found, back, forward

    def small_list(self: Any, descending: Any, limit: Any, *rest: Any, **named: Any) -> Any:
        return listed(self, descending, streams, *rest, **named)

    monkeypatch.setattr(LogStream, "get_log_events", small_page)
    monkeypatch.setattr(type(backend("logs")), "describe_log_streams", small_list)


def add_search(monkeypatch: Any) -> list[dict[str, Any]]:
    """What `Search` lacks in moto: that a tag exists or is so, the order, and pages. Returns the requests."""
    asked: list[dict[str, Any]] = []

    def has(tag: dict[str, str], wanted: dict[str, str]) -> bool:
        return f"Tags.{tag['Key']}" == wanted["Name"] and wanted.get("Value") in (None, tag["Value"])

    def search(self: Any) -> Any:
        names = ("Resource", "SearchExpression", "SortBy", "SortOrder", "MaxResults", "NextToken")
        told = {name: self._get_param(name) for name in names}
        asked.append(told)
        (wanted,) = told["SearchExpression"]["Filters"]
        assert told["Resource"] == "TrainingJob"
        assert wanted["Operator"] in ("Exists", "Equals")
        assert told["SortBy"] == "CreationTime"
        jobs = self.sagemaker_backend.training_jobs.values()
        found = [job for job in jobs if any(has(tag, wanted) for tag in job.tags)]
        found.sort(key=lambda job: job.creation_time, reverse=told["SortOrder"] == "Descending")
        start = int(told["NextToken"] or 0)
        end = start + (told["MaxResults"] or 10)
        results = [{"TrainingJob": {**job.response_object, "Tags": job.tags}} for job in found[start:end]]
        return ActionResult({"Results": results} | ({"NextToken": str(end)} if end < len(found) else {}))

    monkeypatch.setattr(SageMakerResponse, "search", search)
    return asked


def add_stop(monkeypatch: Any) -> None:
    """`StopTrainingJob`, as AWS documents it."""

    def stop_training_job(self: Any) -> Any:
        name = self._get_param("TrainingJobName")
        jobs = self.sagemaker_backend.training_jobs
        if name not in jobs:
            raise ValidationError("Requested resource not found.")
        if jobs[name].training_job_status not in ("InProgress", "Stopping"):
            raise ValidationError("The request was rejected because of the training job's status.")
        set_state(jobs[name], "Stopping")
        return ActionResult({})

    monkeypatch.setattr(SageMakerResponse, "stop_training_job", stop_training_job, raising=False)


def steps(monkeypatch: Any, module: Any, *done: Callable[[], Any]) -> list[float]:
    """Lets a module sleep no more: each pause takes the next step instead, and there must be one.

    Returns:
        how long each pause would have been.
    """
    paused: list[float] = []
    left = iter(done)

    class Time:
        @staticmethod
        def sleep(seconds: float) -> None:
            paused.append(seconds)
            next(left)()

    monkeypatch.setattr(module, "time", Time)
    return paused


def run_command(*words: str, code: int) -> Any:
    """A command in this process, which ends with that code and shows no key."""
    done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, MaporlError):
        assert done.exception.exit_code == code, done.exception.message
        assert AWS_SECRET not in done.exception.message + done.output
    else:
        assert done.exit_code == code, (done.output, done.exception)
    return done
