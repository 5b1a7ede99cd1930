"""An AWS account as moto plays it, with what a job needs, and the command that starts one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import botocore.client
import pytest
from boto3.session import Session
from typer.testing import CliRunner

from maporl_cli.cli.main import app

BUCKET = "maporl-jobs"
ROLE = "arn:aws:iam::123456789012:role/SageMaker"
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}


class Account:
    """A bucket, and a role that SageMaker may assume."""

    def __init__(self) -> None:
        session = Session()
        self.s3: Any = session.client("s3")
        self.iam: Any = session.client("iam")
        self.sagemaker: Any = session.client("sagemaker")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        policy = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        self.iam.create_role(RoleName="SageMaker", AssumeRolePolicyDocument=policy)

    def keys(self) -> list[str]:
        """All objects of the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def close(self) -> None:
        """Leave the account as it was found; jobs stay, as they do at AWS."""
        self.iam.delete_role(RoleName="SageMaker")
        for key in self.keys():
            self.s3.delete_object(Bucket=BUCKET, Key=key)
        self.s3.delete_bucket(Bucket=BUCKET)


class Requests(list[dict[str, Any]]):
    """The requests of one kind that were sent while it was entered."""

    def __init__(self, operation: str) -> None:
        self._operation, self._patch = operation, pytest.MonkeyPatch()

    def __enter__(self) -> Requests:
        send = botocore.client.BaseClient._make_api_call

        def seen(client: Any, name: str, parameters: dict[str, Any]) -> Any:
            if name == self._operation:
                self.append(json.loads(json.dumps(parameters)))
            return send(client, name, parameters)

        self._patch.setattr(botocore.client.BaseClient, "_make_api_call", seen)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def command(*words: str, sets: Sequence[str] = ()) -> list[str]:
    told = ["train", "--on", "sagemaker", "--role", ROLE, "--bucket", BUCKET, *words]
    for value in sets:
        told += ["--set", value]
    return told


def launch(*words: str, sets: Sequence[str] = ()) -> dict[str, Any]:
    """Start a job, and leave it alone; the request that AWS got."""
    with Requests("CreateTrainingJob") as sent:
        done = CliRunner().invoke(app, command("--detach", "--yes", *words, sets=sets))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return sent[0]
