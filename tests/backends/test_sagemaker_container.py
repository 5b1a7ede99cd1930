"""A job that `maporl train --on sagemaker` created, run by the SDK's own launcher in a container's place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session
from small_runs import SMALL
from training_container import TrainingContainer, image_python, refuse_without_namespaces
from typer.testing import CliRunner

from maporl_cli.cli.main import app

BUCKET = "maporl-jobs"
ROLE = "arn:aws:iam::123456789012:role/SageMaker"
TRUST = {
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    refuse_without_namespaces()
    return image_python(tmp_path_factory.mktemp("image"))


@pytest.fixture
def s3(aws) -> Iterator[Any]:
    client: Any = Session().client("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    iam: Any = Session().client("iam")
    iam.create_role(RoleName="SageMaker", AssumeRolePolicyDocument=json.dumps(TRUST))
    yield client
    iam.delete_role(RoleName="SageMaker")
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    client.delete_bucket(Bucket=BUCKET)


def launch(*words: str, sets: tuple[str, ...] = ()) -> dict[str, Any]:
    """Start a job; the request that AWS got."""
    told = ["train", "--on", "sagemaker", "--role", ROLE, "--bucket", BUCKET, "--detach", "--yes", *words]
    for value in (*SMALL, "eval.baselines=[]", *sets):
        told += ["--set", value]
    requests: list[dict[str, Any]] = []
    import botocore.client

    original = botocore.client.BaseClient._make_api_call

    def seen(self: Any, name: str, parameters: dict[str, Any]) -> Any:
        if name == "CreateTrainingJob":
            requests.append(json.loads(json.dumps(parameters)))
        return original(self, name, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", seen)
        done = CliRunner().invoke(app, told)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return requests[0]


def test_a_job_runs_to_its_end_and_its_metrics_are_read_by_its_own_regexes(s3, python, tmp_path) -> None:
    request = launch("--name", "ward")
    container = TrainingContainer(request, s3, tmp_path / "host")
    container.start(python)
    assert container.end() == 0, container.printed[-5000:]
    print(container.printed)
    for metric in request["AlgorithmSpecification"]["MetricDefinitions"]:
        found = re.findall(metric["Regex"], container.printed)
        print(metric["Name"], found)
    assert 0
