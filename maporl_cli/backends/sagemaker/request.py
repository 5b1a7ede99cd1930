"""The CreateTrainingJob request, as the SageMaker SDK's `ModelTrainer` makes it.

The SDK also packs its launcher, which the container starts, into a channel of its own. What it would upload
on the way goes where `Staging` says, which for a dry run is nowhere. It is not asked to send the request: it
gives jobs a name that nobody knows beforehand, and reports its use to AWS.
"""

# The SDK leaves much of its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportPrivateUsage=false, reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from boto3.session import Session as AwsSession
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.training.configs import (
    CheckpointConfig,
    Compute,
    InputData,
    MetricDefinition,
    Networking,
    OutputDataConfig,
    SourceCode,
    StoppingCondition,
    Tag,
)
from sagemaker.train.model_trainer import ModelTrainer

from maporl_cli.backends.sagemaker.bundle import write_code
from maporl_cli.backends.sagemaker.images import aws_image
from maporl_cli.backends.sagemaker.inputs import Inputs
from maporl_cli.backends.sagemaker.paths import (
    CHECKPOINTS,
    CONFIG,
    CONFIG_CHANNEL,
    DRIVERS,
    LOCAL_CONFIG,
    REQUIREMENTS,
)
from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.data.s3 import checksum_of

_TORCH, _PYTHON = "2.10.0", "py313"
"""Of the newest of AWS's own training images that the SDK knows."""
_TEAM_METRICS = (
    *("train:accuracy", "eval:accuracy", "train:loss", "train:reward"),
    *("collaboration:score", "medical:relevance", "safety:score"),
)
_AGENT_METRICS = ("loss", "entropy", "grad_norm", "kl", "clipped", "tokens")
_MOST_METRICS = 40
"""A job may define no more."""

Send = Callable[[Path, str], None]
"""Sends a file to a key of the bucket."""


class Staging(Session):
    """The SDK's session; what it sends goes by our own hands: to one place a job, encrypted, never twice.

    Args:
        prefix: what the keys of the job's inputs begin with.
    """

    def __init__(self, aws: AwsSession, bucket: str, prefix: str, send: Send) -> None:
        super().__init__(boto_session=aws, default_bucket=bucket)
        self._place, self._prefix, self._send = bucket, prefix, send

    def default_bucket(self) -> str:
        """The job's bucket; the SDK would make one that is not there."""
        return self._place

    def upload_data(
        self,
        path: str,
        bucket: str | None = None,
        key_prefix: str = "data",
        callback: object = None,
        extra_args: object = None,
    ) -> str:
        """Send a channel's folder; its address."""
        folder = f"{self._prefix}/{PurePosixPath(key_prefix).name}"
        for file in sorted(one for one in Path(path).rglob("*") if one.is_file()):
            self._send(file, f"{folder}/{file.relative_to(path).as_posix()}")
        return f"s3://{self._place}/{folder}"


class _Trainer(ModelTrainer):
    """The SDK's trainer, which asks nobody where its channels may go: that is settled."""

    def _resolve_staging_bucket(self) -> tuple[str, None]:
        return str(self.sagemaker_session.default_bucket()), None  # pyright: ignore[reportOptionalMemberAccess]


def build_request(
    config: Config,
    inputs: Inputs,
    *,
    name: str,
    role: str,
    image: str,
    aws: AwsSession,
    tags: Mapping[str, str],
    send: Send,
) -> dict[str, Any]:
    """The request for a job of that name; its inputs are sent on the way.

    Args:
        config: as it is here, with a run name and a bucket.
        tags: beside those of the config.
        send: gets every file that the job's own channels need, but for the questions, which are in S3.
    """
    job, bucket = config.sagemaker, str(config.sagemaker.bucket)
    here = f"{job.prefix.strip('/')}/jobs"
    logging.getLogger("sagemaker").setLevel(logging.WARNING)
    # It would ask IAM what `launch` has asked before, and refuse where that is not allowed.
    os.environ["SAGEMAKER_VALIDATE_ROLE"] = "false"
    with TemporaryDirectory(prefix="maporl-") as folder:
        code, own = Path(folder) / "code", Path(folder) / "config"
        code.mkdir()
        write_code(code, config)
        _write_config(own, config, inputs)
        # So that of two launches under one name, the one that loses has not changed what the other reads.
        place = f"{here}/{name}/input/{_digest(own, inputs)}"
        trainer = _Trainer(
            sagemaker_session=Staging(aws, bucket, place, send),
            base_job_name=name,
            role=role,
            training_image=image,
            source_code=SourceCode(
                source_dir=str(code),
                requirements=REQUIREMENTS,
                # Replaces the shell, so that what stops a job stops the ranks' launcher.
                command="exec $SM_PYTHON_CMD -m maporl_cli.backends.sagemaker.container",
            ),
            compute=Compute(
                instance_type=job.instance,
                instance_count=job.instances,
                volume_size_in_gb=job.volume_size,
                keep_alive_period_in_seconds=job.keep_alive or None,
                enable_managed_spot_training=job.spot or None,
            ),
            stopping_condition=StoppingCondition(
                max_runtime_in_seconds=job.max_runtime,
                max_wait_time_in_seconds=job.waits,
            ),
            networking=Networking(
                subnets=list(job.subnets) or None,
                security_group_ids=list(job.security_groups) or None,
                enable_inter_container_traffic_encryption=job.encrypt_traffic or None,
            ),
            output_data_config=OutputDataConfig(
                s3_output_path=f"s3://{bucket}/{here}", kms_key_id=job.kms_key
            ),
            checkpoint_config=CheckpointConfig(s3_uri=checkpoints_of(config), local_path=str(CHECKPOINTS)),
            environment=dict(job.environment),
            tags=[Tag(key=key, value=value) for key, value in {**job.tags, **tags}.items()],
            input_data_config=[
                InputData(channel_name=CONFIG_CHANNEL, data_source=str(own)),
                *(
                    InputData(channel_name=side, data_source=f"s3://{bucket}/{place}/{side}/")
                    for side in inputs.data
                ),
            ],
        ).with_metric_definitions(
            [MetricDefinition(name=one, regex=rf"\b{one}=([-+.0-9eE]+);") for one in metric_names(config)]
        )
        request: dict[str, Any] = trainer._create_training_job_args(boto3=True)
    request["TrainingJobName"] = name
    # With the SDK's own arguments a bash before 5.1 stays process 1, and a stop means nothing to it.
    request["AlgorithmSpecification"]["ContainerArguments"] = ["-c", f"exec /bin/bash {DRIVERS}/sm_train.sh"]
    return request


def metric_names(config: Config) -> list[str]:
    """What SageMaker reads from a job's lines: the team's metrics, and its agents' as far as it allows."""
    agents = [f"{agent}:{metric}" for metric in _AGENT_METRICS for agent in config.team.names]
    return [*_TEAM_METRICS, *agents][:_MOST_METRICS]


def checkpoints_of(config: Config) -> str:
    """The address of a run's checkpoints; a job that goes on with the run has the same."""
    return (
        f"s3://{config.sagemaker.bucket}/{config.sagemaker.prefix.strip('/')}/checkpoints/{config.run.name}/"
    )


def image_of(region: str, instance: str) -> str:
    """AWS's PyTorch training image.

    Raises:
        ConfigError: there is none for the region or instance.
    """
    versions = {"version": _TORCH, "py_version": _PYTHON}
    return aws_image("pytorch", "training", region, instance, key="sagemaker.image", **versions)


def _digest(folder: Path, inputs: Inputs) -> str:
    questions = [asked.here for asked in inputs.data.values() if asked.here is not None]
    content = hashlib.sha256("".join(map(checksum_of, questions)).encode())
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        content.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:12]


def _write_config(folder: Path, config: Config, inputs: Inputs) -> None:
    for name, file in inputs.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read_bytes())
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(to_yaml(inputs.config), encoding="utf-8")
    for name, text in {LOCAL_CONFIG: to_yaml(config), **inputs.notes}.items():
        (folder / name).write_text(text, encoding="utf-8")
