"""Our training jobs on SageMaker: which there are, how they fare, what they cost, and how one is stopped."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from boto3.session import Session

from maporl_cli.core.config_keys import nearest
from maporl_cli.core.errors import MaporlError, MissingError, RunFailed
from maporl_cli.core.harmless import harmless
from maporl_cli.data.aws import aws_client, aws_errors

RUN_TAG = "maporl:run"
"""Holds the run's name; a job that has it is one of ours."""
PRICE_TAG = "maporl:usd-per-hour"
"""The on-demand price of one instance when the job was launched."""
PRICE_DATE_TAG = "maporl:price-date"
_RETAINED = "ResourceRetainedBillableTimeInSeconds"
ENDED = frozenset({"Completed", "Failed", "Stopped"})
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_NAME_LENGTH = 63
_A_PAGE = 100
OUT_OF_TIME = {
    "MaxRuntimeExceeded": "it ran for as long as it was allowed to",
    "MaxWaitTimeExceeded": "no spot instance was to be had within the time allowed for waiting",
    "Interrupted": "its spot instance was taken away, and no time was left to wait for another",
}


@dataclass(frozen=True)
class Job:
    """A training job as SageMaker describes it.

    Attributes:
        description: what DescribeTrainingJob or Search answer.
        tags: its tags; empty where nobody asked for them.
    """

    description: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """Unique in the account and region."""
        return self.description["TrainingJobName"]

    @property
    def status(self) -> str:
        """InProgress, Stopping, Completed, Failed or Stopped."""
        return self.description["TrainingJobStatus"]

    @property
    def secondary(self) -> str:
        """What it does just now: Downloading, Training, Interrupted, …"""
        return self.description.get("SecondaryStatus", self.status)

    @property
    def ended(self) -> bool:
        """Whether it costs nothing any more."""
        return self.status in ENDED

    @property
    def run(self) -> str | None:
        """The run's name; None: it was not launched by maporl."""
        name = self.tags.get(RUN_TAG)
        return None if name is None else harmless(name)

    @property
    def instance(self) -> str:
        """The type of its instances."""
        return self.description.get("ResourceConfig", {}).get("InstanceType", "unknown")

    @property
    def instances(self) -> int:
        """How many there are."""
        return self.description.get("ResourceConfig", {}).get("InstanceCount", 1)

    @property
    def spot(self) -> bool:
        """Whether its instances can be taken away."""
        return bool(self.description.get("EnableManagedSpotTraining"))

    @property
    def started(self) -> datetime | None:
        """When its instances began; None: they have not."""
        return self.description.get("TrainingStartTime")

    @property
    def billable(self) -> int | None:
        """Seconds of each instance that are billed; of a running job those up to now; None: not told."""
        told = self.description.get("BillableTimeInSeconds")
        if told is not None:
            # Instances that were kept for another job cost as much as those that trained.
            return told + self.description.get("WarmPoolStatus", {}).get(_RETAINED, 0)
        if self.started is None:
            return 0
        if self.ended:
            return None
        return max(0, round((datetime.now(UTC) - self.started).total_seconds()))

    @property
    def usd_per_hour(self) -> float | None:
        """The on-demand price of one instance; None: unknown."""
        return price_in(self.tags)

    @property
    def usd(self) -> float | None:
        """What it cost so far, of spot instances at most; None: unknown."""
        if self.usd_per_hour is None or self.billable is None:
            return None
        return self.billable / 3600 * self.usd_per_hour * self.instances

    @property
    def spot_saving(self) -> float | None:
        """The share of its time that is not billed; None: not known, or no spot job."""
        trained, billed = (
            self.description.get(f"{kind}TimeInSeconds", 0) for kind in ("Training", "Billable")
        )
        return 1 - billed / trained if self.spot and self.ended and trained and billed else None

    @property
    def failure(self) -> str:
        """Why it failed, on one line; empty if it did not."""
        return harmless(" ".join(self.description.get("FailureReason", "").split()))

    @property
    def checkpoints(self) -> str | None:
        """Where its checkpoints are kept."""
        return self.description.get("CheckpointConfig", {}).get("S3Uri")

    @property
    def output(self) -> str | None:
        """Where the rest of its run is put once it has ended."""
        folder = self.description.get("OutputDataConfig", {}).get("S3OutputPath")
        return f"{folder.rstrip('/')}/{self.name}/output/output.tar.gz" if folder else None

    @property
    def model(self) -> str | None:
        """Where its models are put once it has ended."""
        return self.description.get("ModelArtifacts", {}).get("S3ModelArtifacts") or None


def channel_uri(description: Mapping[str, Any], name: str) -> str | None:
    """The address of a job's channel, of what was asked for or of what is told of it; None: it has none."""
    for channel in description.get("InputDataConfig") or []:
        if channel["ChannelName"] == name:
            return channel["DataSource"]["S3DataSource"]["S3Uri"].rstrip("/")
    return None


def price_in(tags: Mapping[str, str]) -> float | None:
    """US dollars an hour, as a job or an endpoint was tagged when it was made; None: unknown."""
    try:
        return float(tags[PRICE_TAG])
    except (KeyError, ValueError):
        return None


def our_jobs(session: Session, limit: int, *, run: str | None = None) -> list[Job]:
    """The jobs that maporl launched, newest first: one request for a hundred of them, whatever else there is.

    Args:
        run: only those that train the run of that name.

    Raises:
        MaporlError: as `aws_errors`.
    """
    wanted = {"Operator": "Exists"} if run is None else {"Operator": "Equals", "Value": run}
    with aws_errors(f"the training jobs in {session.region_name}"):
        pages = (
            aws_client(session, "sagemaker")
            .get_paginator("search")
            .paginate(
                Resource="TrainingJob",
                SearchExpression={"Filters": [{"Name": f"Tags.{RUN_TAG}", **wanted}]},
                SortBy="CreationTime",
                SortOrder="Descending",
                PaginationConfig={"PageSize": min(limit, _A_PAGE)},
            )
        )
        found = (one["TrainingJob"] for page in pages for one in page.get("Results", []))
        return [Job(one, _tags(one.get("Tags", []))) for one in islice(found, limit)]


def described(session: Session, name: str) -> Job:
    """One job, with its tags.

    Raises:
        MaporlError: as `describe`.
    """
    description = describe(session, name)
    with aws_errors(f"the tags of {name}"):
        pages = aws_client(session, "sagemaker").get_paginator("list_tags")
        tags = [
            tag
            for page in pages.paginate(ResourceArn=description["TrainingJobArn"])
            for tag in page.get("Tags", [])
        ]
    return Job(description, _tags(tags))


def describe(session: Session, name: str) -> dict[str, Any]:
    """What SageMaker says of one job.

    Raises:
        MissingError: there is no such job; names the nearest of ours.
        MaporlError: as `aws_errors`.
    """
    _refuse_no_name(name)
    with job_errors(session, name):
        return aws_client(session, "sagemaker").describe_training_job(TrainingJobName=name)


def _refuse_no_name(name: str) -> None:
    """Refuses what SageMaker would take for no name at all.

    Raises:
        MissingError: no job can be called that.
    """
    if not can_be_called(name):
        raise MissingError(
            f"There is no job {harmless(name)!r}.",
            why="a job's name has letters, digits and hyphens between them, at most 63",
            fix="maporl jobs ls lists the jobs that there are",
        )


def can_be_called(name: str) -> bool:
    """Whether SageMaker lets a job, an endpoint, its config or its model have that name."""
    return len(name) <= _NAME_LENGTH and _NAME.fullmatch(name) is not None


@contextmanager
def job_errors(session: Session, name: str) -> Generator[None]:
    """As `aws_errors`, where the one thing that is wrong with the request can be the job's name."""

    def unknown(message: str) -> MaporlError:
        del message  # "Requested resource not found."
        meant = None
        with suppress(MaporlError):  # who may not search has still a right to the sentence
            meant = nearest(name, [job.name for job in our_jobs(session, _A_PAGE)])
        return MissingError(
            f"There is no job {name}.",
            where=f"SageMaker in {session.region_name}",
            fix=(f"did you mean {meant}? " if meant else "")
            + "maporl jobs ls lists the jobs that there are; --region R looks in another region",
        )

    with aws_errors(f"the job {name}", dict.fromkeys(("ValidationException", "ResourceNotFound"), unknown)):
        yield


def outcome(description: Mapping[str, Any]) -> MaporlError | None:
    """The error that a job ended in; None if it goes on or did what it was to do."""
    job = Job(description, {})
    if job.status == "Failed":
        return RunFailed(
            f"The job {job.name} failed.",
            why=job.failure or "SageMaker gives no reason",
            fix=f"maporl logs {job.name} shows what led to it; "
            f"maporl jobs fetch {job.name} brings what it wrote",
        )
    if job.status == "Stopped":
        return RunFailed(
            f"The job {job.name} was stopped.",
            why=OUT_OF_TIME.get(job.secondary, "somebody stopped it before it was done"),
            fix=f"maporl jobs fetch {job.name} brings what it wrote up to then",
        )
    return None


def stop(session: Session, name: str) -> Job:
    """Ask SageMaker to stop a job.

    Returns:
        the job after that, which may just have ended by itself.

    Raises:
        MaporlError: as `describe`.
    """
    client = aws_client(session, "sagemaker")
    try:
        with aws_errors(f"the job {name}"):
            client.stop_training_job(TrainingJobName=name)
    except MaporlError:
        # It may have ended since it was last looked at, and then there is nothing to stop.
        found = Job(describe(session, name), {})
        if found.ended:
            return found
        raise
    return Job(describe(session, name), {})


def _tags(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}
