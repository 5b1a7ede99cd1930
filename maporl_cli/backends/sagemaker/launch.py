"""A training job, from the config that trains here: planned, checked, and started."""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from boto3.session import Session
from botocore.exceptions import ClientError

from maporl_cli.backends.sagemaker.inputs import Inputs, inputs_of
from maporl_cli.backends.sagemaker.instances import Gpus, gpus_of
from maporl_cli.backends.sagemaker.jobs import PRICE_DATE_TAG, PRICE_TAG, RUN_TAG
from maporl_cli.backends.sagemaker.paths import CONFIG
from maporl_cli.backends.sagemaker.price import Price, price_of
from maporl_cli.backends.sagemaker.ranks import ranks_of
from maporl_cli.backends.sagemaker.request import build_request, checkpoints_of, image_of
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, MaporlError, MissingError
from maporl_cli.core.run_dir import named, refuse_changed_science
from maporl_cli.data.aws import FORBIDDEN, aws_client, aws_errors, aws_session, error_code
from maporl_cli.data.channels import noted_channels
from maporl_cli.data.s3 import Bucket, place_of
from maporl_cli.training.placement import Placement, place
from maporl_cli.worker.plugins import load_plugins


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job that can be started.

    Attributes:
        name: of the job; its run's, where it does not go on with one.
        config: as it is here, with a run name, role and bucket.
        inputs: what it reads.
        gpus: of one instance.
        image: the container.
        price: of one instance, or why it is not known.
    """

    name: str
    config: Config
    inputs: Inputs
    session: Session
    gpus: Gpus
    image: str
    price: Price | str

    @property
    def ranks(self) -> int:
        """Of one instance."""
        return ranks_of(self.config, self.gpus.count, self.config.sagemaker.instances)

    @property
    def placement(self) -> Placement:
        """Which rank has which agents."""
        instances = self.config.sagemaker.instances
        return place(self.config.team.names, self.ranks * instances, instances)

    @property
    def limit(self) -> float | None:
        """The most that it costs, in US dollars; None where the price is not known."""
        job = self.config.sagemaker
        if isinstance(self.price, str):
            return None
        return self.price.limit(job.max_runtime + job.keep_alive, job.instances)

    @property
    def tags(self) -> Mapping[str, str]:
        """What is kept with the job for later."""
        own = {RUN_TAG: str(self.config.run.name)}
        if isinstance(self.price, Price):
            own |= {PRICE_TAG: str(self.price.hourly), PRICE_DATE_TAG: self.price.date}
        return own

    def request(self, send: Callable[[Path, str], None]) -> dict[str, Any]:
        """The CreateTrainingJob request; `send` gets each file that it reads, and its key in the bucket."""
        return build_request(
            self.config,
            self.inputs,
            name=self.name,
            role=str(self.config.sagemaker.role),
            image=self.image,
            aws=self.session,
            tags=self.tags,
            send=send,
        )


def launch_job(config: Config, *, max_cost: float, resume: bool = False) -> JobPlan:
    """Start a job without asking: `maporl train --on sagemaker --yes --detach --max-cost …`, from Python.

    Args:
        max_cost: US dollars; a job that may cost more, or nobody knows how much, is not started.
        resume: go on with the run of that name.

    Raises:
        MaporlError: something is missing, contradicts itself or costs too much; nothing was started then.
    """
    job = plan_job(config, resume=resume, max_cost=max_cost)
    start_job(job, check_job(job, resume=resume), lambda _: None)
    return job


def plan_job(config: Config, *, resume: bool, max_cost: float | None) -> JobPlan:
    """The job that trains as `config` does here; AWS is asked for the price and, of a bare role, its ARN.

    Args:
        resume: go on with the run of that name, from the checkpoints that it left in the bucket.
        max_cost: US dollars that it may cost at most; None: any.

    Raises:
        ConfigError: it names what only this machine has, cannot be placed on the instances, or costs more.
        MissingError: a region, role, bucket or instance type is missing.
    """
    config = named(config)
    load_plugins(config.run.plugins)  # one may hold the benchmark that the config names
    _refuse_without_key(config)
    uploaded = noted_channels()
    inputs = inputs_of(config, uploaded)
    job = config.sagemaker
    bucket = job.bucket or next((place_of(uri)[0] for uri in uploaded.values()), None)
    if bucket is None:
        raise MissingError(
            "The job needs a bucket for its code, checkpoints and results.",
            where="sagemaker.bucket",
            fix="--bucket B, a bucket of your own in the region of the job",
        )
    if job.role is None:
        raise MissingError(
            "The job needs a role to run as.",
            where="sagemaker.role",
            fix="--role ARN, a role that SageMaker may assume and that may read and write the bucket",
        )
    session = aws_session(job.region)
    gpus = gpus_of(session, job.instance)
    role = job.role if job.role.startswith("arn:") else _role_arn(session, job.role)
    found = config.model_copy(
        update={
            "sagemaker": job.model_copy(
                update={"bucket": bucket, "role": role, "region": session.region_name}
            )
        }
    )
    planned = JobPlan(
        _job_name(str(config.run.name), resume=resume),
        found,
        inputs,
        session,
        gpus,
        job.image or image_of(str(session.region_name), job.instance),
        price_of(session, job.instance),
    )
    _refuse_cost(planned, max_cost)
    return planned


def _refuse_cost(job: JobPlan, most: float | None) -> None:
    if most is None:
        return
    if job.limit is None:
        raise MissingError(
            f"Whether the job costs more than ${most:,.2f} is not known.",
            where="--max-cost",
            why=f"the price of {job.config.sagemaker.instance} is unknown: {job.price}",
            fix="have pricing:GetProducts allowed, or leave --max-cost out",
        )
    if job.limit > most:
        seconds = int(most / job.limit * job.config.sagemaker.max_runtime)
        raise ConfigError(
            f"The job may cost ${job.limit:,.2f}, which is more than ${most:,.2f}.",
            where="--max-cost",
            why="that is what it costs if it runs for sagemaker.max_runtime",
            fix=f"--set sagemaker.max_runtime={seconds}, if that is enough, or a smaller --instance",
        )


def _refuse_without_key(config: Config) -> None:
    """W&B online needs a key in the container, which must not stand in the request."""
    if config.monitoring.wandb_mode == "online" and "WANDB_API_KEY" not in config.sagemaker.secrets:
        raise ConfigError(
            "The job would have no key for Weights & Biases.",
            where="monitoring.wandb_mode=online",
            why="keys are never sent with a job, where everybody who may see it could read them",
            fix="keep the key in AWS Secrets Manager: --set sagemaker.secrets.WANDB_API_KEY=NAME-OF-SECRET; "
            "or --set monitoring.wandb_mode=offline, and wandb sync what comes home",
        )


def check_job(job: JobPlan, *, resume: bool) -> Bucket:
    """Whether AWS has all that the job needs; its bucket.

    Raises:
        MaporlError: the role, the bucket, the questions or the checkpoints are not there, or a job of that
            name is.
    """
    settings = job.config.sagemaker
    bucket = Bucket(str(settings.bucket), job.session, kms_key=settings.kms_key)
    _check_role(job.session, str(settings.role))
    for side, (uri, file) in job.inputs.data.items():
        place, prefix = place_of(uri)
        Bucket(place, job.session).refuse_other(f"{prefix}{file.name}", file, upload_as=side.value)
    _refuse_taken(job)
    _check_checkpoints(job, bucket, resume=resume)
    return bucket


def _check_checkpoints(job: JobPlan, bucket: Bucket, *, resume: bool) -> None:
    """Whether the job begins a run, or goes on with one, as it was told to.

    Raises:
        ConfigError: it does the other, or would go on with something else than the run was started with.
    """
    _, prefix = place_of(checkpoints_of(job.config))
    begun = bool(bucket.others(prefix, ()))
    if begun and not resume:
        raise ConfigError(
            f"There are checkpoints of a run {job.config.run.name} already.",
            where=checkpoints_of(job.config),
            why="the job would go on with them",
            fix="--resume goes on with that run; another --name leaves it alone",
        )
    if resume and not begun:
        raise ConfigError(
            f"There are no checkpoints of a run {job.config.run.name}.",
            where=checkpoints_of(job.config),
            fix="leave out --resume, or correct --name, --bucket or sagemaker.prefix",
        )
    started = f"{prefix}{job.config.run.name}/config.yaml"
    if begun and bucket.size(started) is not None:
        with TemporaryDirectory(prefix="maporl-") as folder:
            file = Path(folder) / CONFIG
            bucket.download(started, file, lambda _: None)
            # Found out here, and not by an instance that costs.
            refuse_changed_science(
                load_config(file=file).config, job.inputs.config, where=str(job.config.run.name)
            )


def start_job(job: JobPlan, bucket: Bucket, on_bytes: Callable[[int], None]) -> None:
    """Send what the job reads, and start it.

    Raises:
        MaporlError: AWS refuses; nothing runs then, and nothing costs.
    """

    def send(file: Path, key: str) -> None:
        bucket.upload(file, key, on_bytes)

    request = job.request(send)
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
        "ResourceInUse": lambda message: _taken(job.name, message),
        "ValidationException": refused,
        "ResourceNotFound": refused,
    }
    with aws_errors(f"job {job.name}", telling):
        aws_client(job.session, "sagemaker").create_training_job(**request)


def _job_name(run: str, *, resume: bool) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "-", run).strip("-")
    stamp = f"-{time.strftime('%Y%m%d-%H%M%S')}" if resume else ""
    return f"{plain[: 63 - len(stamp)].strip('-')}{stamp}"


def _refuse_taken(job: JobPlan) -> None:
    client = aws_client(job.session, "sagemaker")
    with aws_errors(f"job {job.name}"):
        try:
            found = client.describe_training_job(TrainingJobName=job.name)
        except ClientError as error:
            if error_code(error) in ("ValidationException", "ResourceNotFound"):
                return
            raise
    raise _taken(job.name, f"its status is {found['TrainingJobStatus']}")


def _taken(name: str, why: str) -> MissingError:
    return MissingError(
        f"There is a job {name} already.",
        why=why,
        fix=f"another --name; maporl logs {name} shows that one, and --resume goes on with its run",
    )


def _role_arn(session: Session, name: str) -> str:
    with aws_errors(f"role {name}", {"NoSuchEntity": lambda message: _no_role(name, message)}):
        return str(aws_client(session, "iam").get_role(RoleName=name)["Role"]["Arn"])


def _check_role(session: Session, arn: str) -> None:
    """Whether SageMaker may assume the role; who may not ask IAM finds out when the job is created."""
    name = arn.rsplit("/", 1)[-1]
    with aws_errors(f"role {name}", {"NoSuchEntity": lambda message: _no_role(arn, message)}):
        try:
            role = aws_client(session, "iam").get_role(RoleName=name)["Role"]
        except ClientError as error:
            if error_code(error) in FORBIDDEN:
                return
            raise
    policy: Any = role["AssumeRolePolicyDocument"]
    trusted = json.dumps(json.loads(policy) if isinstance(policy, str) else policy)
    if "sagemaker.amazonaws.com" not in trusted:
        raise MissingError(
            "SageMaker may not assume the role.",
            where=arn,
            why="its trust policy does not name sagemaker.amazonaws.com",
            fix="add that service to the trust policy, or take another --role",
        )


def _no_role(name: str, why: str) -> MissingError:
    return MissingError("There is no such role.", where=name, why=why, fix="correct --role")
