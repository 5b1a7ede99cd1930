"""What kinds of machines there are, and how many GPUs each has."""

# boto3 and the SDK leave their signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boto3.session import Session
from sagemaker.core import instance_types_gpu_info

from maporl_cli.core.config_keys import nearest
from maporl_cli.core.errors import MaporlError, MissingError
from maporl_cli.data.aws import aws_client, aws_errors
from maporl_cli.training.fit import Device

MIB = 2**20
_ACCELERATED = ("ml.g", "ml.p", "ml.trn")
_ANY_REGION = "us-east-1"
"""An instance type has the same GPUs everywhere, and the SDK's table is fullest here."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What ranks run on.

    Attributes:
        gpus: how many; 0: they share the CPUs.
        bytes: of each GPU, or of the RAM where there is none; None: nobody knows.
        source: who says so; empty where nobody does.
    """

    gpus: int
    bytes: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Use:
    """What an instance is for: AWS has other types for each.

    Attributes:
        name: in words.
        key: of the config, that names the instance.
        listed: the shape of AWS's API that lists them.
    """

    name: str
    key: str
    listed: str


TRAINING = Use("training", "sagemaker.instance", "TrainingInstanceType")
HOSTING = Use("hosting", "sagemaker.inference_instance", "ProductionVariantInstanceType")


def machine_of(session: Session, instance: str, use: Use = TRAINING) -> Machine:
    """An instance of a type.

    EC2 is asked, which tells what GPUs really leave to programs; the SDK's table, which has their nominal
    memory, only where EC2 does not answer.

    Raises:
        MissingError: there is no such type, it has no GPU that can be used, or EC2 cannot be asked of one
            that the table does not have.
    """
    refuse_unknown(session, instance, use)
    try:
        with aws_errors(f"EC2 in {session.region_name}"):
            client = aws_client(session, "ec2", patient=False)
            asked = client.describe_instance_types(InstanceTypes=[instance.removeprefix("ml.")])
    except MaporlError as error:
        return _listed(instance, error, use)
    (found,) = asked["InstanceTypes"]
    gpus: list[dict[str, Any]] = found.get("GpuInfo", {}).get("Gpus", [])
    if gpus:
        return Machine(gpus[0]["Count"], gpus[0]["MemoryInfo"]["SizeInMiB"] * MIB, "EC2")
    if instance.startswith(_ACCELERATED):
        raise MissingError(
            f"{instance} has no GPU that maporl can use.",
            where=use.key,
            fix="take another --instance, such as ml.g5.12xlarge",
        )
    return Machine(0, found["MemoryInfo"]["SizeInMiB"] * MIB, "EC2")


def _listed(instance: str, error: MaporlError, use: Use) -> Machine:
    """What the SDK's table says of a type.

    Args:
        error: why EC2 does not tell of it.
    """
    listed = instance_types_gpu_info.retrieve(_ANY_REGION).get(instance)
    if listed is not None:
        bytes = listed["TotalGpuMemoryInMiB"] * MIB // listed["Count"]
        return Machine(listed["Count"], bytes, "the SageMaker SDK")
    if not instance.startswith(_ACCELERATED):
        return Machine(0, None, "")
    raise MissingError(
        f"It is not known how many GPUs {instance} has.",
        where=use.key,
        why=f"the SDK's table does not have it, and EC2 says: {error.what}",
        fix="have ec2:DescribeInstanceTypes allowed, or take another --instance, such as ml.g5.12xlarge",
    ) from error


def device_of(machine: Machine, instance: str) -> Device | None:
    """What holds a team on an instance of that type; None: nobody knows how much that can hold."""
    what = f"GPU of {instance}" if machine.gpus else f"RAM of {instance}"
    return None if machine.bytes is None else Device(what, machine.bytes, shared=not machine.gpus)


def refuse_unknown(session: Session, instance: str, use: Use = TRAINING) -> None:
    """Nothing, where such an instance may be had for that.

    Raises:
        MissingError: AWS has no such type for it; names the nearest.
    """
    known: list[str] = aws_client(session, "sagemaker").meta.service_model.shape_for(use.listed).enum
    if instance in known:
        return
    meant = nearest(instance, known)
    raise MissingError(
        f"There is no instance type {instance} for {use.name}.",
        where=use.key,
        why="AWS does not list it",
        fix=f"did you mean {meant}?" if meant else "--instance ml.g5.12xlarge, or another of AWS's list",
    )
