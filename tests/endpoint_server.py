"""What moto lacks of endpoints: their states, names that are taken, newer instances, and answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import sagemaker_server as server
from moto.core.responses import ActionResult
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

Answer = Callable[[bytes, str | None], str]
"""A request's body and content type to the body of its answer; an error is the model's."""


class Endpoints:
    """SageMaker's endpoints.

    Attributes:
        statuses: what the next looks show, one each; InService when there are none left.
        reason: why an endpoint failed.
        answer: what answers for the model.
        asked: the bodies that came.
    """

    def __init__(self, monkeypatch: Any, answer: Answer) -> None:
        self.statuses: list[str] = []
        self.reason: str | None = None
        self.answer = answer
        self.asked: list[bytes] = []
        here = self

        def create(kind: str, key: str, kept: str) -> None:
            made = getattr(SageMakerResponse, f"create_{kind}")

            def create_once(response: Any) -> Any:
                name = response._get_param(key)
                if name in getattr(response.sagemaker_backend, kept):
                    raise ValidationError(f"Cannot create already existing {kind} {name}")
                return made(response)

            monkeypatch.setattr(SageMakerResponse, f"create_{kind}", create_once)

        create("model", "ModelName", "_models")
        create("endpoint_config", "EndpointConfigName", "endpoint_configs")
        create("endpoint", "EndpointName", "endpoints")

        def describe_endpoint(response: Any) -> Any:
            backend = response.sagemaker_backend
            told = backend.describe_endpoint(response._get_param("EndpointName"))
            if here.statuses:
                told["EndpointStatus"] = here.statuses.pop(0)
            if here.reason is not None:
                told["FailureReason"] = here.reason
            config = backend.endpoint_configs.get(told["EndpointConfigName"])
            how = config and config.async_inference_config
            return ActionResult(told | {"AsyncInferenceConfig": how})

        monkeypatch.setattr(SageMakerResponse, "describe_endpoint", describe_endpoint)
        # moto's list of types is years old.
        for known in (FakeEndpointConfig, SageMakerModelBackend):
            monkeypatch.setattr(known, "validate_production_variants", lambda *_: None)

        def invoke_endpoint(response: Any) -> Any:
            content = response.body if isinstance(response.body, bytes) else response.body.encode()
            try:
                return 200, {"Content-Type": "application/json"}, here._answered(content, response.headers)
            except Exception as error:  # noqa: BLE001 the toolkit makes a 400 of every error
                told = {
                    "Message": f'Received client error (400) from team with message "{error}".',
                    "OriginalStatusCode": 400,
                    "OriginalMessage": str(error),
                }
                return 424, {"x-amzn-ErrorType": "ModelError", "status": 424}, json.dumps(told)

        def invoke_endpoint_async(response: Any) -> Any:
            name = response.path.split("/")[2]
            output = server.backend("sagemaker").endpoint_configs[name].async_inference_config["OutputConfig"]
            bucket, _, key = (
                response.headers["X-Amzn-SageMaker-InputLocation"].removeprefix("s3://").partition("/")
            )
            s3, called = server.root("s3"), uuid.uuid4()
            places = {
                "OutputLocation": f"{output['S3OutputPath']}/{called}.out",
                "FailureLocation": f"{output['S3FailurePath']}/{called}-error.out",
            }
            content = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            try:
                body, place = here._answered(content, response.headers), places["OutputLocation"]
            except Exception as error:  # noqa: BLE001
                body, place = str(error), places["FailureLocation"]
            s3.put_object(Bucket=bucket, Key=place.removeprefix(f"s3://{bucket}/"), Body=body.encode())
            headers = {f"X-Amzn-SageMaker-{name}": uri for name, uri in places.items()}
            return 202, {**headers, "status": 202}, json.dumps({"InferenceId": str(called)})

        monkeypatch.setattr(SageMakerRuntimeResponse, "invoke_endpoint", invoke_endpoint)
        monkeypatch.setattr(SageMakerRuntimeResponse, "invoke_endpoint_async", invoke_endpoint_async)

    def _answered(self, content: bytes, headers: Any) -> str:
        self.asked.append(content)
        kind = headers.get("X-Amzn-SageMaker-Content-Type") or headers.get("Content-Type")
        return self.answer(content, kind)
