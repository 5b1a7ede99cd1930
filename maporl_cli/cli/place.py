"""Where a command does its work, here or on SageMaker, and the options that only jobs there have."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from maporl_cli.core.errors import UsageError


class Backend(StrEnum):
    """Where it runs."""

    local = "local"
    sagemaker = "sagemaker"


def _there(*names: str, **told: Any) -> Any:
    """An option of a job on SageMaker."""
    return typer.Option(*names, rich_help_panel="On SageMaker", **told)


Instance = Annotated[
    str | None, _there("--instance", metavar="TYPE", help="Its machines (default: ml.g5.12xlarge).")
]
Instances = Annotated[int | None, _there("--instances", metavar="N", min=1, help="How many.")]
Role = Annotated[str | None, _there("--role", metavar="ARN", help="The role that it runs as.")]
BucketName = Annotated[str | None, _there("--bucket", metavar="B", help="For code, checkpoints and results.")]
JobRegion = Annotated[str | None, _there("--region", metavar="R", help="Where it runs.")]
Spot = Annotated[bool, _there("--spot", help="Use spare capacity, which costs less.")]
Detach = Annotated[bool, _there("--detach", help="Leave it alone once it has started.")]
MaxCost = Annotated[
    float | None, _there("--max-cost", metavar="USD", min=0, help="Start nothing that may cost more.")
]
Yes = Annotated[bool, _there("--yes", help="Start it without asking.")]


def is_remote(command: str, backend: Backend | None, on: Backend | None) -> bool:
    """Whether a command works on SageMaker.

    Args:
        backend: as its argument says.
        on: as its option says.

    Raises:
        UsageError: they contradict each other.
    """
    if backend is not None and on is not None and backend is not on:
        raise UsageError(
            f"`maporl {command} {backend.value} --on {on.value}` asks for two places at once.",
            fix=f"maporl {command} --on {on.value}, or maporl {command} --on {backend.value}",
        )
    return (on or backend) is Backend.sagemaker


def refuse_misplaced(given: Mapping[str, object], *, remote: bool) -> None:
    """Nothing, where none of these options of the other place was given.

    Raises:
        UsageError: one was.
    """
    for option, value in given.items():
        if value not in (None, False, 0):
            raise UsageError(
                f"{option} is for a {'command here' if remote else 'job on SageMaker'}.",
                fix=f"leave {option} out, or {'--on local' if remote else '--on sagemaker'}",
            )
