"""What endpoints answer, and what becomes of it: other shapes, denials, interruptions, others who delete."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import sagemaker_server as server
from endpoint_server import Endpoints
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse
from sagemaker_account import BUCKET
from sagemaker_server import run_command

from maporl_cli.backends.sagemaker import endpoint_ask

TAGS = {"maporl:run": "ward", "maporl:instance": "ml.g5.2xlarge", "maporl:usd-per-hour": "1.5"}
ANSWER: dict[str, Any] = {
    "id": "sample",
    "answer": "A",
    "report": "The answer is A [e1]. Not medical advice.",
    "confidence": 0.75,
    "risk": {"level": "low", "reasons": ["it names no guideline"]},
    "disclaimer": "Not medical advice.",
    "evidence": ["e1"],
}


@pytest.fixture
def endpoints(account, monkeypatch) -> Endpoints:
    """The server, whose endpoints answer to the sample."""
    return Endpoints(monkeypatch, lambda *_: json.dumps(ANSWER))


def make(name: str = "ward", *, asynchronous: bool = False, **tags: str) -> Any:
    """An endpoint, its config and its model, tagged so or as maporl tags its own; as the server holds it."""
    client: Any = server.root("sagemaker")
    labels = [{"Key": key, "Value": value} for key, value in (tags or TAGS).items()]
    model = {"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}
    role = "arn:aws:iam::123456789012:role/jobs"
    client.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=model, Tags=labels)
    variant = {"VariantName": "team", "ModelName": name, "InitialInstanceCount": 1}
    places = {kind: f"s3://{BUCKET}/{name}/{kind}" for kind in ("answers", "failures")}
    output = {"S3OutputPath": places["answers"], "S3FailurePath": places["failures"]}
    how = {"AsyncInferenceConfig": {"OutputConfig": output}} if asynchronous else {}
    client.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant | {"InstanceType": "ml.g5.2xlarge"}],
        Tags=labels,
        **how,
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=labels)
    return server.backend("sagemaker").endpoints[name]


def tried(*words: str, code: int = 0) -> Any:
    return run_command("endpoints", "test", "ward", *words, code=code)


def test_nothing_is_asked_twice(endpoints, monkeypatch) -> None:
    make()
    came: list[object] = []

    def busy(response: Any) -> Any:
        came.append(response)
        return 503, {"status": 503, "x-amzn-ErrorType": "ServiceUnavailable"}, json.dumps({"Message": ""})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SageMakerRuntimeResponse, "invoke_endpoint", busy)
        assert "ServiceUnavailable" in tried(code=1).exception.message
    assert len(came) == 1
    endpoints.answer = lambda *_: time.sleep(1) or json.dumps(ANSWER)
    monkeypatch.setattr(endpoint_ask, "AT_ONCE", -9.7)
    assert "AWS does not answer." in tried(code=4).exception.message
    assert len(endpoints.asked) == 1


def test_it_is_waited_for_until_sagemaker_gives_it_up(endpoints, monkeypatch) -> None:
    make()
    waits: list[float] = []
    config = endpoint_ask.BotoConfig
    monkeypatch.setattr(
        endpoint_ask, "BotoConfig", lambda **told: waits.append(told["read_timeout"]) or config(**told)
    )
    tried()
    (seconds,) = waits
    assert 60 < seconds < 120
