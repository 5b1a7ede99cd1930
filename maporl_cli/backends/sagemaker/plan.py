"""A training job, from the config that trains here: what it is, what it may cost, and its request."""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boto3.session import Session

from maporl_cli.backends.sagemaker.inputs import Inputs, inputs_of
from maporl_cli.backends.sagemaker.instances import Machine, machine_of
from maporl_cli.backends.sagemaker.jobs import PRICE_DATE_TAG, PRICE_TAG, RUN_TAG
from maporl_cli.backends.sagemaker.price import Price, price_of
from maporl_cli.backends.sagemaker.ranks import placed
from maporl_cli.backends.sagemaker.refusals import refuse_unfit, refuse_without_key, sources_here
from maporl_cli.backends.sagemaker.request import build_request, image_of
from maporl_cli.backends.sagemaker.roles import role_arn
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import named
from maporl_cli.data.aws import aws_session
from maporl_cli.data.channels import noted_channels
from maporl_cli.data.s3 import place_of
from maporl_cli.training.placement import Placement
from maporl_cli.worker.plugins import load_plugins


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job that can be started.

    Attributes:
        name: of the job; its run's, where it does not go on with one.
        config: as it is here, with a run name, role and bucket.
        inputs: what it reads.
        sources: the SHA-256 of that, by its name here, as far as it is known.
        machine: one instance.
        memory: what each rank needs (`worker.memory_plan`).
        image: the container.
        price: of one instance, or why it is not known.
    """

    name: str
    config: Config
    inputs: Inputs
    sources: Mapping[str, str]
    session: Session
    machine: Machine
    memory: Mapping[str, Any]
    image: str
    price: Price | str

    @property
    def placement(self) -> Placement:
        """Which rank has which agents."""
        return placed(self.config, self.machine.gpus)

    @property
    def limit(self) -> float | None:
        """The most that it costs, in US dollars; None where the price is not known."""
        job = self.config.sagemaker
        if isinstance(self.price, str):
            return None
        return self.price.limit(job.longest, job.instances)

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


def plan_job(config: Config, *, resume: bool, max_cost: float | None, trials: int = 1) -> JobPlan:
    """The job that trains as `config` does here; AWS is asked for the price and, of a bare role, its ARN.

    Args:
        resume: go on with the run of that name, from the checkpoints that it left in the bucket.
        max_cost: US dollars that it may cost at most; None: any.
        trials: how many such jobs may cost that together.

    Raises:
        ConfigError: whatever would end the job at once: it names what only this machine has, its numbers do
            not come out even on the instances, it does not fit in their memory; or it costs more.
        DataError: a file that it names is missing here, or holds what cannot be trained on.
        MissingError: a region, role, bucket or instance type is missing.
    """
    config = named(config)
    load_plugins(config.run.plugins)  # one may hold the benchmark that the config names
    refuse_without_key(config)
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
    machine = machine_of(session, job.instance)
    memory = refuse_unfit(config, machine)
    sources = sources_here(config, inputs, all_data=resume)
    role = job.role if job.role.startswith("arn:") else role_arn(session, job.role)
    found = config.model_copy(
        update={
            "sagemaker": job.model_copy(
                update={"bucket": bucket, "role": role, "region": session.region_name}
            )
        }
    )
    planned = JobPlan(
        job_name(str(config.run.name), resume=resume),
        found,
        inputs,
        sources,
        session,
        machine,
        memory,
        job.image or image_of(str(session.region_name), job.instance),
        price_of(session, job.instance),
    )
    _refuse_cost(planned, max_cost, trials)
    return planned


def _refuse_cost(job: JobPlan, most: float | None, trials: int) -> None:
    if most is None:
        return
    what = "job" if trials == 1 else "study"
    if job.limit is None:
        raise MissingError(
            f"Whether the {what} costs more than ${most:,.2f} is not known.",
            where="--max-cost",
            why=f"the price of {job.config.sagemaker.instance} is unknown: {job.price}",
            fix="have pricing:GetProducts allowed, or leave --max-cost out",
        )
    limit = job.limit * trials
    if not limit <= most:
        settings = job.config.sagemaker
        each = limit / settings.longest
        seconds = int(most / each) - settings.keep_alive if most == most else 0
        shorter = f"--set sagemaker.max_runtime={seconds}, if that is enough, or " if seconds > 0 else ""
        fewer = "" if trials == 1 else "fewer --trials, "
        raise ConfigError(
            f"The {what} may cost ${limit:,.2f}, which is more than ${most:,.2f}.",
            where="--max-cost",
            why="that is what sagemaker.max_runtime and sagemaker.keep_alive come to"
            + ("" if trials == 1 else f", {trials} times"),
            fix=f"{shorter}{fewer}a smaller --instance, or a higher --max-cost",
        )


def job_name(run: str, *, resume: bool) -> str:
    """A run's name in letters that a job may have; of a job that goes on with it, with the time."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", run).strip("-")
    stamp = f"-{time.strftime('%Y%m%d-%H%M%S')}" if resume else ""
    return f"{plain[: 63 - len(stamp)].strip('-')}{stamp}"
