"""Whether AWS has all that a job needs, asked before anything is sent."""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from botocore.exceptions import ClientError

from maporl_cli.backends.sagemaker.going_on import check_run
from maporl_cli.backends.sagemaker.plan import JobPlan
from maporl_cli.backends.sagemaker.roles import check_role
from maporl_cli.core.errors import MissingError
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
        place, key = place_of(asked.uri)
        Bucket(place, job.session).refuse_other(key, asked.here, upload_as=side.value)
    _refuse_taken(job)
    check_run(job, bucket, resume=resume)
    return bucket


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
