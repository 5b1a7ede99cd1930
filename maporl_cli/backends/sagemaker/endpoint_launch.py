"""An endpoint's making: whether AWS has all that it needs, its model on the way, and until it answers."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
import time
from collections.abc import Callable

from maporl_cli.backends.sagemaker.endpoint_model import ARCHIVE, packed
from maporl_cli.backends.sagemaker.endpoint_plan import EndpointPlan
from maporl_cli.backends.sagemaker.endpoints import Endpoint, our_parts, part
from maporl_cli.backends.sagemaker.roles import check_role
from maporl_cli.core.errors import Interrupted, MaporlError, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.aws import aws_client, aws_errors
from maporl_cli.data.s3 import Bucket

_PAUSE = 15
"""Seconds between two looks."""
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
            raise _taken(kind, plan.name, status)
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
                getattr(client, re.sub("(?<=[a-z])(?=[A-Z])", "_", operation).lower())(**request)
            begun = True
    except MaporlError:
        if begun:
            say(_left(plan))
        raise
    except KeyboardInterrupt:  # a request may have arrived all the same
        raise Interrupted(
            f"{plan.name} may be made in part, or wholly, and cost.",
            fix=f"maporl endpoints delete {plan.name} deletes what there is of it",
        ) from None


def _left(plan: EndpointPlan) -> str:
    """What there is of an endpoint whose making came to nothing, as it seems."""
    try:
        found = our_parts(plan.session, plan.name)
    except MaporlError:
        found = ["model", "perhaps more"]
    return (
        f"What there is of {plan.name}: the {' and the '.join(found)}. "
        f"maporl endpoints delete {plan.name} deletes it"
    )


def wait(plan: EndpointPlan, say: Callable[[str], None]) -> None:
    """Watch the endpoint until it answers.

    Raises:
        RunFailed: it failed, or somebody deleted it.
        Interrupted: Ctrl-C; it goes on.
        MaporlError: as `aws_errors`; it goes on.
    """
    name, status = plan.name, ""
    delete = f"maporl endpoints delete {name}"
    try:
        while True:
            description = part(plan.session, "endpoint", name)
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
            fix=f"maporl endpoints ls shows how it fares; {delete} deletes it",
        ) from None


def _telling(plan: EndpointPlan, kind: str) -> dict[str, Callable[[str], MaporlError]]:
    instance, region = plan.settings.inference_instance, plan.session.region_name

    def quota(message: str) -> MaporlError:
        return MissingError(
            "The account's quota does not allow the endpoint.",
            where=f"{instance} in {region}",
            why=message,
            fix=f"ask for more of “{instance} for endpoint usage”: https://{region}.console.aws.amazon.com/"
            "servicequotas/home/services/sagemaker/quotas",
        )

    def refused(message: str) -> MaporlError:
        if "already exist" in message:
            return _taken(kind, plan.name, message)
        return MissingError(
            f"SageMaker refuses the {kind}.",
            where=plan.name,
            why=message,
            fix="correct what the reason names",
        )

    return {
        "ResourceLimitExceeded": quota,
        "ResourceInUse": lambda message: _taken(kind, plan.name, message),
        "ValidationException": refused,
        "ResourceNotFound": refused,
    }


def _taken(kind: str, name: str, why: str) -> MissingError:
    return MissingError(
        f"There is {'an' if kind[0] in 'Ee' else 'a'} {kind} {name} already.",
        why=why,
        fix=f"another --name; or maporl endpoints delete {name}, if it is one of maporl's that may go",
    )
