"""An endpoint, before there is any: what it is, whether it can hold its team, and what it costs."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boto3.session import Session

from maporl_cli.agents.build import TINY, cold_starts_of, model_of
from maporl_cli.agents.models import resolve
from maporl_cli.backends.sagemaker.endpoint_model import ARCHIVE, JobModel
from maporl_cli.backends.sagemaker.endpoint_request import MODEL_SERVER, endpoint_requests, inference_image
from maporl_cli.backends.sagemaker.endpoints import INSTANCE_TAG, WORDS_TAG
from maporl_cli.backends.sagemaker.instances import HOSTING, Machine, device_of, machine_of
from maporl_cli.backends.sagemaker.jobs import PRICE_DATE_TAG, PRICE_TAG, RUN_TAG
from maporl_cli.backends.sagemaker.price import Price, price_of
from maporl_cli.backends.sagemaker.roles import role_arn
from maporl_cli.core.config import Config
from maporl_cli.core.config_sagemaker import SageMakerConfig
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.channels import noted_channels
from maporl_cli.data.s3 import place_of
from maporl_cli.training.memory import RankMemory
from maporl_cli.worker.final_model import of_folders
from maporl_cli.worker.serving_memory import serving_memory

DAY, MONTH = 24, 730
"""Hours."""
_HUB_KEYS = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
"""Variables by which the Hugging Face hub knows who pulls."""


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

    def command(self, what: str) -> str:
        """The command that does so with it: `test`, `delete`; or `ls`, which names no endpoint.

        Where it is elsewhere than AWS's configuration says, only the command with its region finds it.
        """
        words = ["maporl endpoints", what, *([] if what == "ls" else [self.name])]
        if Session().region_name != self.settings.region:
            words.append(f"--region {self.settings.region}")
        return " ".join(words)

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
    source: RunDir | JobModel,
    asynchronous: bool,
    max_cost: float | None,
) -> EndpointPlan:
    """The endpoint of that name; AWS is asked for the price and, of a bare role, its ARN.

    Args:
        config: of the team.
        source: its run here, or a job's model.
        max_cost: US dollars that it may cost a day; None: any.

    Raises:
        ConfigError: the team does not fit on the instance, or that costs more; or the config asks for what an
            endpoint cannot have.
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
    region = str(session.region_name)
    image = _image(region, settings)
    _refuse_variables(config, settings)
    machine = machine_of(session, settings.inference_instance, HOSTING)
    memory = _refuse_unfit(config, machine, settings.inference_instance, source)
    role = settings.role if settings.role.startswith("arn:") else role_arn(session, settings.role)
    planned = EndpointPlan(
        name,
        config,
        settings.model_copy(update={"bucket": bucket, "role": role, "region": region}),
        session,
        machine,
        memory,
        image,
        price_of(session, settings.inference_instance, "Host"),
        asynchronous,
        None if isinstance(source, RunDir) else source.uri,
    )
    _refuse_cost(planned, max_cost)
    return planned


def _known_bucket(source: RunDir | JobModel) -> str | None:
    if isinstance(source, JobModel):
        return place_of(source.uri)[0]
    return next((place_of(uri)[0] for uri in noted_channels().values()), None)


def _refuse_unfit(
    config: Config, machine: Machine, instance: str, source: RunDir | JobModel
) -> Sequence[RankMemory] | str:
    """What each GPU needs, where there is that much; why it is not known, where it is not.

    Raises:
        ConfigError: there is less, or the team asks for a GPU and there is none.
        MissingError: as `serving_memory`, but for models that are not here.
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
    absent = _absent(saved)
    if absent is None:
        needs = serving_memory(saved, machine.gpus)
        _refuse_more(max(need.peak for need in needs), machine, instance)
        return needs
    if whole and isinstance(source, JobModel):
        # Each agent's weights are in it, and hardly smaller than where they are loaded; the fullest GPU has
        # at least its share of them.
        least = source.bytes // max(1, min(machine.gpus, len(config.team.agents)))
        _refuse_more(RankMemory(model=least).peak, machine, instance, "at least ")
    return f"{absent.what} {absent.fix} makes it known"


def _absent(config: Config) -> MissingError | None:
    """Why the shapes of the team's models are not known: one of them is not on this machine."""
    for name in {model_of(seat, config) for seat in config.team.agents} - {TINY}:
        try:
            resolve(name, offline=True)
        except MissingError as error:
            return error
    return None


def _refuse_more(needed: int, machine: Machine, instance: str, bound: str = "") -> None:
    device = device_of(machine, instance)
    if device is not None and needed > device.usable:
        raise ConfigError(
            f"The team does not fit on {instance}.",
            where="sagemaker.inference_instance",
            why=f"it needs {bound}{needed / 1e9:.1f} GB, and of the {device.bytes / 1e9:.1f} GB of the "
            f"{device.name} {device.usable / 1e9:.1f} GB can be filled",
            fix="an --instance with more memory, or with a GPU for each agent",
        )


def _refuse_variables(config: Config, settings: SageMakerConfig) -> None:
    """Nothing, where the endpoint can have the container's variables that the config names, or needs none.

    Raises:
        ConfigError: it cannot.
    """
    if taken := sorted(MODEL_SERVER.keys() & settings.environment.keys()):
        raise ConfigError(
            f"An endpoint's {taken[0]} cannot be set.",
            where=f"sagemaker.environment.{taken[0]}",
            why="one worker holds the team, and has as long as an answer may take",
            fix="leave it out",
        )
    keys = sorted(_HUB_KEYS & settings.secrets.keys())
    if keys and config.model.finetune == "lora":
        raise ConfigError(
            f"The endpoint would have no {keys[0]} to pull the base of its adapters with.",
            where=f"sagemaker.secrets.{keys[0]}",
            why="an endpoint's container reads no secrets",
            fix="take it out of the run's config.yaml, if the base is public (maporl jobs fetch makes a run "
            "of a job); else train with model.finetune=full, whose final model needs no base",
        )


def _image(region: str, settings: SageMakerConfig) -> str:
    if settings.inference_image is not None:
        return settings.inference_image
    if settings.inference_instance.startswith("ml.p2."):
        raise ConfigError(
            f"The GPUs of {settings.inference_instance} are too old for AWS's image.",
            where="sagemaker.inference_instance",
            why="they are of the generation Kepler, which CUDA 12 does not know",
            fix="another --instance, such as ml.g5.2xlarge; or an image with CUDA 11 as "
            "sagemaker.inference_image",
        )
    return inference_image(region, settings.inference_instance)


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
