"""A training job's start."""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from maporl_cli.backends.sagemaker.checks import check_job, taken
from maporl_cli.backends.sagemaker.jobs import channel_uri
from maporl_cli.backends.sagemaker.paths import CONFIG_CHANNEL
from maporl_cli.backends.sagemaker.plan import JobPlan, plan_job
from maporl_cli.core.config import Config
from maporl_cli.core.errors import Interrupted, MaporlError, MissingError
from maporl_cli.data.aws import aws_client, aws_errors
from maporl_cli.data.s3 import Bucket, place_of


def launch_job(config: Config, *, max_cost: float, resume: bool = False) -> JobPlan:
    """Start a job without asking: `maporl train --on sagemaker --yes --detach --max-cost …`, from Python.

    Args:
        max_cost: US dollars; a job that may cost more, or nobody knows how much, is not started.
        resume: go on with the run of that name.

    Raises:
        MaporlError: something is missing, contradicts itself or costs too much; nothing was started then.
    """
    job = plan_job(config, resume=resume, max_cost=max_cost)
    create_job(job, send_inputs(job, check_job(job, resume=resume), lambda _: None))
    return job


def send_inputs(job: JobPlan, bucket: Bucket, on_bytes: Callable[[int], None]) -> dict[str, Any]:
    """Send what the job reads; the request that starts it.

    Raises:
        MaporlError: AWS refuses.
    """

    def send(file: Path, key: str) -> None:
        bucket.upload(file, key, on_bytes)

    request = job.request(send)
    for side, asked in job.inputs.data.items():
        # A later upload under that name must not change what a job reads that waits, or starts anew.
        _, folder = place_of(str(channel_uri(request, side)))
        bucket.copy_from(asked.uri, f"{folder}/{asked.name}")
        bucket.refuse_other(f"{folder}/{asked.name}", asked.here, upload_as=side.value)
    return request


def create_job(job: JobPlan, request: Mapping[str, Any]) -> None:
    """Start the job.

    Raises:
        Interrupted: Ctrl-C; the request may have been heard all the same.
        MaporlError: AWS refuses; nothing runs then, and nothing costs.
    """
    instance = job.config.sagemaker.instance
    region = job.session.region_name

    def quota(message: str) -> MaporlError:
        use = "spot training job usage" if job.config.sagemaker.spot else "training job usage"
        return MissingError(
            "The account's quota does not allow the job.",
            where=f"{instance} in {region}",
            why=message,
            fix=f"ask for more of “{instance} for {use}”: https://{region}.console.aws.amazon.com/servicequotas/"
            "home/services/sagemaker/quotas",
        )

    def refused(message: str) -> MaporlError:
        return MissingError(
            "SageMaker refuses the job.", where=job.name, why=message, fix="correct what the reason names"
        )

    telling = {
        "ResourceLimitExceeded": quota,
        "ResourceInUse": lambda message: taken(job.name, message),
        "ValidationException": refused,
        "ResourceNotFound": refused,
    }
    client = aws_client(job.session, "sagemaker")
    try:
        with aws_errors(f"job {job.name}", telling):
            _create(client, request)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{job.name} may have started.",
            why="it was interrupted while SageMaker was asked to start it",
            fix=f"maporl jobs show {job.name} tells; maporl jobs stop {job.name} stops it",
        ) from None


def _create(client: Any, request: Mapping[str, Any]) -> None:
    try:
        client.create_training_job(**request)
    except (ClientError, BotoCoreError):
        # An answer can be lost on its way, and the request sent again: then its own job is in its way.
        if not _is_started(client, request):
            raise


def _is_started(client: Any, request: Mapping[str, Any]) -> bool:
    """Whether there is the very job of a request: its config's address holds a digest of what it reads."""
    try:
        found = client.describe_training_job(TrainingJobName=request["TrainingJobName"])
    except (ClientError, BotoCoreError):
        return False
    return channel_uri(found, CONFIG_CHANNEL) == channel_uri(request, CONFIG_CHANNEL)
