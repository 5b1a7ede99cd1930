"""The role that a job runs as."""

# boto3 leaves its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
from typing import Any

from boto3.session import Session
from botocore.exceptions import ClientError

from maporl_cli.core.errors import MissingError
from maporl_cli.data.aws import FORBIDDEN, aws_client, aws_errors, error_code


def role_arn(session: Session, name: str) -> str:
    """The ARN of a role of this account.

    Raises:
        MissingError: there is no such role.
        MaporlError: as `aws_errors`.
    """
    with aws_errors(f"role {name}", {"NoSuchEntity": lambda message: _no_role(name, message)}):
        return str(aws_client(session, "iam").get_role(RoleName=name)["Role"]["Arn"])


def check_role(session: Session, arn: str) -> None:
    """Nothing, where SageMaker may assume the role; who may not ask IAM finds out when the job is created.

    Raises:
        MissingError: it may not, or there is no such role.
    """
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
