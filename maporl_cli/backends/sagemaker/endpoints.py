"""Our endpoints on SageMaker: which there are, how they fare, what they cost, and how one is deleted."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from boto3.session import Session
from botocore.exceptions import ClientError

from maporl_cli.backends.sagemaker.jobs import RUN_TAG, can_be_called, price_in
from maporl_cli.core.config_keys import nearest
from maporl_cli.core.errors import MaporlError, MissingError, RunFailed, UsageError
from maporl_cli.core.harmless import harmless
from maporl_cli.data.aws import FORBIDDEN, aws_client, aws_errors, error_code

INSTANCE_TAG = "maporl:instance"
WORDS_TAG = "maporl:words"
"""The benchmark whose words are all that the team knows; only of a team of tiny policies."""
_UNKNOWN = frozenset({"ValidationException", "ResourceNotFound"})
_PARTS = {
    "endpoint": ("endpoint", "EndpointName", "EndpointArn"),
    "config": ("endpoint_config", "EndpointConfigName", "EndpointConfigArn"),
    "model": ("model", "ModelName", "ModelArn"),
}
"""What an endpoint consists of: what methods, requests and answers call it."""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as SageMaker describes it.

    Attributes:
        description: what DescribeEndpoint or ListEndpoints answer.
        tags: its tags.
    """

    description: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """Unique in the account and region."""
        return self.description["EndpointName"]

    @property
    def status(self) -> str:
        """Creating, InService, Updating, Failed, Deleting, …."""
        return self.description["EndpointStatus"]

    @property
    def run(self) -> str | None:
        """The run whose team it serves; None: maporl did not make it."""
        name = self.tags.get(RUN_TAG)
        return None if name is None else harmless(name)

    @property
    def instance(self) -> str:
        """The type that it was made with."""
        return harmless(self.tags.get(INSTANCE_TAG, "unknown"))

    @property
    def created(self) -> datetime:
        """Since when it is there."""
        return self.description["CreationTime"]

    @property
    def usd_per_hour(self) -> float | None:
        """The price when it was made; None: unknown."""
        return price_in(self.tags)

    @property
    def usd(self) -> float | None:
        """What it cost so far, at most: nothing is billed before its instance is there; None: unknown."""
        if self.usd_per_hour is None:
            return None
        until = self.description["LastModifiedTime"] if self.status == "Failed" else datetime.now(UTC)
        return max(0.0, (until - self.created).total_seconds() / 3600 * self.usd_per_hour)

    @property
    def failure(self) -> str:
        """Why it failed, on one line; empty if it did not."""
        return harmless(" ".join(self.description.get("FailureReason", "").split()))

    @property
    def answers(self) -> str | None:
        """The address below which it puts its answers; None: it answers who asks."""
        output = self.description.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
        return output.get("S3OutputPath")


def our_endpoints(session: Session) -> tuple[list[Endpoint], list[str]]:
    """The endpoints that maporl made, newest first; and the names of those whose tags may not be read.

    Each one's tags are asked for, and no index is searched: what costs shall not be missing.

    Raises:
        MaporlError: as `aws_errors`.
    """
    with aws_errors(f"the endpoints in {session.region_name}"):
        pages = (
            aws_client(session, "sagemaker")
            .get_paginator("list_endpoints")
            .paginate(SortBy="CreationTime", SortOrder="Descending")
        )
        told = [one for page in pages for one in page["Endpoints"]]
    ours: list[Endpoint] = []
    hidden: list[str] = []
    for one in told:
        try:
            tags = _tags(session, one["EndpointArn"])
        except _Hidden:
            hidden.append(one["EndpointName"])
            continue
        if tags is not None and RUN_TAG in tags:
            ours.append(Endpoint(one, tags))
    return ours, hidden


def our_endpoint(session: Session, name: str) -> Endpoint:
    """One of ours.

    Raises:
        UsageError: no endpoint can be called that.
        MissingError: there is no such endpoint, or maporl did not make it; names the nearest.
        MaporlError: as `aws_errors`.
    """
    refuse_no_name(name)
    description = part(session, "endpoint", name)
    tags = None if description is None else _tags(session, description["EndpointArn"])
    if description is None or tags is None:
        raise _none(session, name)
    if RUN_TAG not in tags:
        raise _not_ours(name)
    return Endpoint(description, tags)


def part(session: Session, kind: str, name: str) -> dict[str, Any] | None:
    """What SageMaker says of an `endpoint`, `config` or `model`; None: there is none of that name.

    Raises:
        MaporlError: as `aws_errors`.
    """
    method, key, _ = _PARTS[kind]
    with aws_errors(f"the {kind} {name}"):
        try:
            return getattr(aws_client(session, "sagemaker"), f"describe_{method}")(**{key: name})
        except ClientError as error:
            if error_code(error) in _UNKNOWN:
                return None
            raise


def our_parts(session: Session, name: str) -> list[str]:
    """Which of an endpoint, its config and its model are there under that name, and ours.

    Raises:
        UsageError: no endpoint can be called that.
        MissingError: none of them; or the endpoint is not ours.
        MaporlError: as `aws_errors`.
    """
    refuse_no_name(name)
    found: list[str] = []
    for kind, (_, _, arn) in _PARTS.items():
        description = part(session, kind, name)
        tags = None if description is None else _tags(session, description[arn])
        if tags is None:
            continue
        if RUN_TAG in tags:
            found.append(kind)
        elif kind == "endpoint":
            raise _not_ours(name)
    if not found:
        raise _none(session, name)
    return found


def delete_parts(session: Session, name: str, kinds: list[str]) -> Iterator[tuple[str, bool]]:
    """Delete what `our_parts` found, the endpoint first: it is what costs.

    Yields:
        what was deleted, and whether it was still there.

    Raises:
        MaporlError: as `aws_errors`; what comes after it is left alone.
    """
    client = aws_client(session, "sagemaker")
    for kind in kinds:
        method, key, _ = _PARTS[kind]
        with aws_errors(f"the {kind} {name}"):
            try:
                getattr(client, f"delete_{method}")(**{key: name})
            except ClientError as error:
                if error_code(error) not in _UNKNOWN:
                    raise
                if part(session, kind, name) is not None:
                    raise _refused(kind, name, error) from error
                yield kind, False
                continue
        yield kind, True


def refuse_no_name(name: str) -> None:
    """Nothing, where an endpoint can be called that.

    Raises:
        UsageError: none can.
    """
    if not can_be_called(name):
        raise UsageError(
            f"No endpoint can be called {harmless(name)!r}.",
            why="a name has letters, digits and hyphens between them, at most 63",
            fix="correct the name; maporl endpoints ls lists those that there are",
        )


def _refused(kind: str, name: str, error: ClientError) -> MaporlError:
    return RunFailed(
        f"SageMaker does not delete the {kind} {name} now.",
        why=str(error.response["Error"].get("Message", "")),
        fix=f"maporl endpoints ls shows its status; maporl endpoints delete {name} once it is made or failed",
    )


def _not_ours(name: str) -> MissingError:
    return MissingError(
        f"The endpoint {name} was not made by maporl.",
        why=f"it has no tag {RUN_TAG}",
        fix="maporl endpoints ls lists those that maporl made",
    )


def _none(session: Session, name: str) -> MissingError:
    meant = None
    with suppress(MaporlError):  # who may not list has still a right to the sentence
        meant = nearest(name, [one.name for one in our_endpoints(session)[0]])
    return MissingError(
        f"There is no endpoint {name}.",
        where=f"SageMaker in {session.region_name}",
        fix=(f"did you mean {meant}? " if meant else "")
        + "maporl endpoints ls lists those that there are; --region R looks in another region",
    )


def _tags(session: Session, arn: str) -> dict[str, str] | None:
    """The tags of an endpoint, a config or a model; None: it was deleted meanwhile.

    Raises:
        _Hidden: they may not be read.
        MaporlError: as `aws_errors`.
    """

    def hidden(message: str) -> MaporlError:
        return _Hidden(
            "AWS does not allow it.",
            where=f"the tags of {arn}",
            why=message,
            fix="have sagemaker:ListTags allowed for these credentials, or log in as somebody who may",
        )

    with aws_errors(f"the tags of {arn}", dict.fromkeys(FORBIDDEN, hidden)):
        pages = aws_client(session, "sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        try:
            return {tag["Key"]: tag["Value"] for page in pages for tag in page.get("Tags", [])}
        except ClientError as error:
            if error_code(error) in _UNKNOWN:
                return None
            raise


class _Hidden(MissingError):
    """Whose something is may not be seen."""
