"""An endpoint's making: whether AWS has all that it needs, its model on the way, and until it answers."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from maporl_cli.backends.sagemaker.endpoint_model import ARCHIVE, packed
from maporl_cli.backends.sagemaker.endpoint_plan import EndpointPlan
from maporl_cli.backends.sagemaker.endpoints import Endpoint, our_parts, part
from maporl_cli.backends.sagemaker.roles import check_role
from maporl_cli.core.errors import Interrupted, MaporlError, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.aws import aws_client, aws_errors, passing
from maporl_cli.data.s3 import Bucket

_KINDS = {"Model": "model", "EndpointConfig": "config", "Endpoint": "endpoint"}
_PAUSE = 15
"""Seconds between two looks."""
_LOOKS = 120
"""So often AWS is asked, where it does not answer."""
_ON_ITS_WAY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


def check_endpoint(plan: EndpointPlan) -> Bucket:
    """Whether AWS has all that the endpoint needs; its bucket.

    Raises:
        MaporlError: the role or the bucket is not there, or something of that name is.
    """
    bucket = Bucket(str(plan.settings.bucket), plan.session, kms_key=plan.settings.kms_key)
    check_role(plan.session, str(plan.settings.role))
    for kind in ("endpoint", "config", "model"):
        if (found := part(plan.session, kind, plan.name)) is not None:
            status = (
                f"its status is {found['EndpointStatus']}" if kind == "endpoint" else "of another endpoint"
            )
            raise _taken(plan, kind, status)
    return bucket


def send_model(home: RunDir, bucket: Bucket, plan: EndpointPlan, on_bytes: Callable[[int], None]) -> None:
    """Pack a run's model, and send it to where the endpoint looks for it.

    Raises:
        MaporlError: as `packed`; or AWS refuses.
    """
    with packed(home) as archive:
        bucket.upload(archive, f"{plan.folder}/{ARCHIVE}", on_bytes)


def create_endpoint(plan: EndpointPlan, say: Callable[[str], None]) -> None:
    """Send the three requests.

    Args:
        say: told what is there already, where one is refused.

    Raises:
        MaporlError: AWS refuses.
        Interrupted: Ctrl-C.
    """
    client = aws_client(plan.session, "sagemaker")
    begun = False
    try:
        for operation, request in plan.requests.items():
            kind = operation.removeprefix("Create")
            with aws_errors(f"the {kind} {plan.name}", _telling(plan, kind)):
                _send(client, operation, request)
            begun = True
    except MaporlError:
        if begun:
            say(_left(plan))
        raise
    except KeyboardInterrupt:  # a request may have arrived all the same
        raise Interrupted(
            f"{plan.name} may be made in part, or wholly, and cost.",
            fix=f"{plan.command('delete')} deletes what there is of it",
        ) from None


def _send(client: Any, operation: str, request: Mapping[str, Any]) -> None:
    try:
        getattr(client, re.sub("(?<=[a-z])(?=[A-Z])", "_", operation).lower())(**request)
    except (ClientError, BotoCoreError):
        # An answer can be lost on its way, and the request sent again: then its own endpoint is in its way.
        if operation != "CreateEndpoint" or not _is_made(client, request):
            raise


def _is_made(client: Any, request: Mapping[str, Any]) -> bool:
    """Whether there is the endpoint of a request: one of the config that was made just before."""
    try:
        found = client.describe_endpoint(EndpointName=request["EndpointName"])
    except (ClientError, BotoCoreError):
        return False
    return found["EndpointConfigName"] == request["EndpointConfigName"]


def _left(plan: EndpointPlan) -> str:
    """What there is of an endpoint whose making came to nothing, as it seems."""
    try:
        found = our_parts(plan.session, plan.name)
    except MaporlError:
        found = ["model", "perhaps more"]
    return f"What there is of {plan.name}: the {' and the '.join(found)}. {plan.command('delete')} deletes it"


def wait(plan: EndpointPlan, say: Callable[[str], None]) -> None:
    """Watch the endpoint until it answers.

    Raises:
        RunFailed: it failed, or somebody deleted it.
        Interrupted: Ctrl-C; it goes on.
        MissingError: AWS cannot be asked any more; it goes on.
    """
    name, status = plan.name, ""
    delete = plan.command("delete")
    try:
        while True:
            description = _look(plan, say)
            if description is None:
                raise RunFailed(
                    f"The endpoint {name} was deleted.", fix=f"{delete} deletes what is left of it"
                )
            found = Endpoint(description, {})
            if found.status != status:
                status = found.status
                say(f"{name}: {status}")
            if status == "InService":
                return
            if status not in _ON_ITS_WAY:
                region = plan.session.region_name
                raise RunFailed(
                    f"The endpoint {name} is not there: its status is {status}.",
                    where=f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logsV2:"
                    f"log-groups/log-group/$252Faws$252Fsagemaker$252FEndpoints$252F{name}",
                    why=found.failure or "SageMaker gives no reason",
                    fix=f"{delete} deletes it with its config and its model, which are all still there",
                )
            time.sleep(_PAUSE)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{name} is still being made, and costs from when it is there.",
            fix=f"{plan.command('ls')} shows how it fares; {delete} deletes it",
        ) from None


def _look(plan: EndpointPlan, say: Callable[[str], None]) -> Mapping[str, Any] | None:
    """What SageMaker says of the endpoint, asked again while nobody answers; None: it is not there.

    Raises:
        MissingError: AWS cannot be asked any more.
    """
    for left in reversed(range(_LOOKS)):
        try:
            return part(plan.session, "endpoint", plan.name)
        except MaporlError as error:
            cause = error.__cause__
            if not left or not isinstance(cause, Exception) or not passing(cause):
                raise MissingError(
                    error.what,
                    where=error.where,
                    why=f"{error.why}{'; ' if error.why else ''}{plan.name} is still being made, and costs "
                    "from when it is there",
                    fix=f"once AWS can be asked again, {plan.command('ls')} shows how it fares; "
                    f"{plan.command('delete')} deletes it",
                ) from error
            if left == _LOOKS - 1:
                say("AWS does not answer just now; trying again until it does …")
        time.sleep(_PAUSE)
    raise AssertionError("the loop returns or raises")


def _telling(plan: EndpointPlan, kind: str) -> dict[str, Callable[[str], MaporlError]]:
    instance, region = plan.settings.inference_instance, str(plan.session.region_name)

    def quota(message: str) -> MaporlError:
        of_all = "Total number" in message  # of such things, whatever they run on
        asked = "what the reason names" if of_all else f"“{instance} for endpoint usage”"
        return MissingError(
            f"The account's quota does not allow the {_KINDS[kind]}.",
            where=region if of_all else f"{instance} in {region}",
            why=message,
            fix=f"{'delete some, or ' if of_all else ''}ask for more of {asked}: https://{region}."
            "console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas",
        )

    def refused(message: str) -> MaporlError:
        if "already exist" in message:
            return _taken(plan, kind, message)
        return MissingError(
            f"SageMaker refuses the {kind}.",
            where=plan.name,
            why=message,
            fix="correct what the reason names",
        )

    return {
        "ResourceLimitExceeded": quota,
        "ResourceInUse": lambda message: _taken(plan, kind, message),
        "ValidationException": refused,
        "ResourceNotFound": refused,
    }


def _taken(plan: EndpointPlan, kind: str, why: str) -> MissingError:
    return MissingError(
        f"There is {'an' if kind[0] in 'Ee' else 'a'} {kind} {plan.name} already.",
        why=why,
        fix=f"another --name; or {plan.command('delete')}, if it is one of maporl's that may go",
    )
