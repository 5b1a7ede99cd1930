"""An endpoint, before there is any: what it is, whether it can hold its team, and what it costs."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boto3.session import Session

from maporl_cli.agents.build import cold_starts_of
from maporl_cli.backends.sagemaker.endpoint_model import ARCHIVE
from maporl_cli.backends.sagemaker.endpoint_request import endpoint_requests, inference_image
from maporl_cli.backends.sagemaker.endpoints import INSTANCE_TAG, WORDS_TAG
from maporl_cli.backends.sagemaker.instances import HOSTING, Machine, device_of, machine_of
from maporl_cli.backends.sagemaker.jobs import PRICE_DATE_TAG, PRICE_TAG, RUN_TAG
from maporl_cli.backends.sagemaker.price import Price, price_of
from maporl_cli.backends.sagemaker.roles import role_arn
from maporl_cli.core.config import Config
from maporl_cli.core.config_sagemaker import SageMakerConfig
from maporl_cli.core.errors import ConfigError, MaporlError, MissingError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.channels import noted_channels
from maporl_cli.data.s3 import place_of
from maporl_cli.training.memory import RankMemory
from maporl_cli.worker.final_model import of_folders
from maporl_cli.worker.serving_memory import serving_memory

DAY, MONTH = 24, 730
"""Hours."""


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """An endpoint that can be made.

    Attributes:
        name: of it, its model and its config.
        config: of the team, as it was trained.
        settings: with a bucket, a role's ARN and a region.
        machine: its one instance.
        memory: what each GPU needs, or the RAM where there is none; or why that is not known.
        price: of the instance, or why it is not known.
        asynchronous: whether it takes its questions from S3, and puts its answers there.
        job_model: the address of the job's model; None: a run here has to be packed and sent.
    """

    name: str
    config: Config
    settings: SageMakerConfig
    session: Session
    machine: Machine
    memory: Sequence[RankMemory] | str
    image: str
    price: Price | str
    asynchronous: bool
    job_model: str | None

    @property
    def folder(self) -> str:
        """What the keys of its files begin with."""
        return f"{self.settings.prefix.strip('/')}/endpoints/{self.name}"

    @property
    def model(self) -> str:
        """The address of its model."""
        return self.job_model or f"s3://{self.settings.bucket}/{self.folder}/{ARCHIVE}"

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        """What makes it (`endpoint_requests`)."""
        return endpoint_requests(
            self.settings,
            name=self.name,
            image=self.image,
            model=self.model,
            answers=f"s3://{self.settings.bucket}/{self.folder}" if self.asynchronous else None,
            tags=self._tags,
        )

    @property
    def _tags(self) -> Mapping[str, str]:
        own = {RUN_TAG: str(self.config.run.name), INSTANCE_TAG: self.settings.inference_instance}
        if isinstance(self.price, Price):
            own |= {PRICE_TAG: str(self.price.hourly), PRICE_DATE_TAG: self.price.date}
        if cold_starts_of(self.config) is not None:
            own[WORDS_TAG] = str(self.config.data.train)
        return own


def plan_endpoint(
    config: Config,
    settings: SageMakerConfig,
    session: Session,
    *,
    name: str,
    source: RunDir | str,
    asynchronous: bool,
    questions: int,
    max_cost: float | None,
) -> EndpointPlan:
    """The endpoint of that name; AWS is asked for the price and, of a bare role, its ARN.

    Args:
        config: of the team.
        source: its run here, or the address of a job's model.
        questions: the most of a request.
        max_cost: US dollars that it may cost a day; None: any.

    Raises:
        ConfigError: the team does not fit on the instance, or that costs more.
        MissingError: a role, a bucket or the instance type is missing.
    """
    bucket = settings.bucket or _known_bucket(source)
    if bucket is None:
        raise MissingError(
            "The endpoint needs a bucket for its model.",
            where="sagemaker.bucket",
            fix="--bucket B, a bucket of your own in the region of the endpoint",
        )
    if settings.role is None:
        raise MissingError(
            "The endpoint needs a role to run as.",
            where="sagemaker.role",
            fix="--role ARN, a role that SageMaker may assume and that may read the bucket",
        )
    machine = machine_of(session, settings.inference_instance, HOSTING)
    memory = _refuse_unfit(config, machine, settings.inference_instance, source, questions)
    role = settings.role if settings.role.startswith("arn:") else role_arn(session, settings.role)
    region = str(session.region_name)
    planned = EndpointPlan(
        name,
        config,
        settings.model_copy(update={"bucket": bucket, "role": role, "region": region}),
        session,
        machine,
        memory,
        settings.inference_image or inference_image(region, settings.inference_instance),
        price_of(session, settings.inference_instance, "Host"),
        asynchronous,
        None if isinstance(source, RunDir) else source,
    )
    _refuse_cost(planned, max_cost)
    return planned


def _known_bucket(source: RunDir | str) -> str | None:
    if isinstance(source, str):
        return place_of(source)[0]
    return next((place_of(uri)[0] for uri in noted_channels().values()), None)


def _refuse_unfit(
    config: Config, machine: Machine, instance: str, source: RunDir | str, questions: int
) -> Sequence[RankMemory] | str:
    """What each GPU needs, where there is that much; why it is not known, where it is not.

    Raises:
        ConfigError: there is less, or the team asks for a GPU and there is none.
    """
    if config.model.dtype == "fp16" and not machine.gpus:
        raise ConfigError(
            f"The team cannot answer on {instance}, which has no GPU.",
            where="model.dtype=fp16",
            why="half precision (fp16) needs one",
            fix="an --instance with a GPU, such as ml.g5.2xlarge",
        )
    whole = config.model.finetune == "full"
    saved = of_folders(source, config) if whole and isinstance(source, RunDir) else config
    try:
        needs = serving_memory(saved, machine.gpus, questions)
    except MaporlError as error:
        return error.what
    device, most = device_of(machine, instance), max(need.peak for need in needs)
    if device is not None and most > device.usable:
        raise ConfigError(
            f"The team does not fit on {instance}.",
            where="sagemaker.inference_instance",
            why=f"it needs {most / 1e9:.1f} GB, and of the {device.bytes / 1e9:.1f} GB of the {device.name} "
            f"{device.usable / 1e9:.1f} GB can be filled",
            fix="an --instance with more memory, or with a GPU for each agent",
        )
    return needs


def _refuse_cost(plan: EndpointPlan, most: float | None) -> None:
    if most is None:
        return
    instance = plan.settings.inference_instance
    if isinstance(plan.price, str):
        raise MissingError(
            f"Whether the endpoint costs more than ${most:,.2f} a day is not known.",
            where="--max-cost",
            why=f"the price of {instance} is unknown: {plan.price}",
            fix="have pricing:GetProducts allowed, or leave --max-cost out",
        )
    daily = plan.price.hourly * DAY
    if not daily <= most:
        raise ConfigError(
            f"The endpoint costs ${daily:,.2f} a day, which is more than ${most:,.2f}.",
            where="--max-cost",
            why=f"{instance} is ${plan.price.hourly:.4g} an hour, until the endpoint is deleted",
            fix="a smaller --instance, or a higher --max-cost",
        )
