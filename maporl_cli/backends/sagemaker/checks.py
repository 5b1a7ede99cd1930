"""Whether AWS has all that a job needs, asked before anything is sent."""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from botocore.exceptions import ClientError

from maporl_cli.backends.sagemaker.paths import CONFIG
from maporl_cli.backends.sagemaker.plan import JobPlan
from maporl_cli.backends.sagemaker.request import checkpoints_of
from maporl_cli.backends.sagemaker.roles import check_role
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import refuse_changed_science
from maporl_cli.data.aws import aws_client, aws_errors, error_code
from maporl_cli.data.s3 import Bucket, place_of


def check_job(job: JobPlan, *, resume: bool) -> Bucket:
    """Whether AWS has all that the job needs; its bucket.

    Raises:
        MaporlError: the role, the bucket, the questions or the checkpoints are not there, or a job of that
            name is.
    """
    settings = job.config.sagemaker
    bucket = Bucket(str(settings.bucket), job.session, kms_key=settings.kms_key)
    check_role(job.session, str(settings.role))
    for side, asked in job.inputs.data.items():
        place, prefix = place_of(asked.uri)
        questions = Bucket(place, job.session)
        questions.refuse_other(f"{prefix}{asked.name}", asked.here, upload_as=side.value)
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


def _refuse_taken(job: JobPlan) -> None:
    client = aws_client(job.session, "sagemaker")
    with aws_errors(f"job {job.name}"):
        try:
            found = client.describe_training_job(TrainingJobName=job.name)
        except ClientError as error:
            if error_code(error) in ("ValidationException", "ResourceNotFound"):
                return
            raise
    raise taken(job.name, f"its status is {found['TrainingJobStatus']}")


def taken(name: str, why: str) -> MissingError:
    """The error for a job's name that another one has."""
    return MissingError(
        f"There is a job {name} already.",
        why=why,
        fix=f"another --name; maporl jobs show {name} tells of which run it is",
    )
