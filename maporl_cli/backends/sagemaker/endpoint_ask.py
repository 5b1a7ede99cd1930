"""A request to an endpoint, and its answer: at once, or by way of S3."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from boto3.session import Session
from botocore.config import Config as BotoConfig

from maporl_cli.backends.sagemaker.endpoint_request import ANSWERING
from maporl_cli.backends.sagemaker.endpoints import Endpoint
from maporl_cli.core.errors import Interrupted, MaporlError, MissingError, RunFailed
from maporl_cli.core.harmless import harmless
from maporl_cli.data.aws import aws_errors
from maporl_cli.data.s3 import Bucket, place_of

AT_ONCE = 60
"""Seconds after which SageMaker gives a real-time request up."""
_JSON = "application/json"
_PAUSE = 2
"""Seconds between two looks."""
_SHOWN = 1000
"""Characters of what an endpoint says went wrong."""


def ask_endpoint(session: Session, endpoint: Endpoint, request: bytes) -> Any:
    """What the endpoint answers.

    Args:
        request: a body as `serving.requests` reads it.

    Raises:
        MissingError: it does not answer yet, or any more.
        RunFailed: it could not answer, or its answer is no JSON.
        Interrupted: Ctrl-C.
        MaporlError: as `aws_errors`.
    """
    if endpoint.status != "InService":
        raise MissingError(
            f"The endpoint {endpoint.name} does not answer now.",
            why=f"its status is {endpoint.status}. {endpoint.failure}".rstrip(),
            fix=f"maporl endpoints ls shows how it fares; maporl endpoints delete {endpoint.name} deletes it",
        )
    # Nothing is asked twice: the one worker would answer both, one after the other.
    settings: Any = {"read_timeout": AT_ONCE + 10, "retries": {"mode": "standard", "total_max_attempts": 1}}

    def failed(message: str) -> MaporlError:
        return _failed(endpoint, message)

    with aws_errors(f"the endpoint {endpoint.name}", {"ModelError": failed, "ValidationError": failed}):
        client: Any = session.client("sagemaker-runtime", config=BotoConfig(**settings))  # pyright: ignore[reportCallIssue]
        if endpoint.answers is None:
            told = client.invoke_endpoint(EndpointName=endpoint.name, Body=request, ContentType=_JSON)
            return _parsed(endpoint, told["Body"].read())
        return _parsed(endpoint, _by_way_of_s3(session, client, endpoint, endpoint.answers, request))


def _by_way_of_s3(session: Session, client: Any, endpoint: Endpoint, answers: str, request: bytes) -> bytes:
    output = endpoint.description["AsyncInferenceConfig"]["OutputConfig"]
    bucket = Bucket(place_of(answers)[0], session, kms_key=output.get("KmsKeyId"))
    with TemporaryDirectory(prefix="maporl-") as folder:
        file = Path(folder) / "request.json"
        file.write_bytes(request)
        folder_of_all = place_of(answers)[1].rpartition("/")[0]
        key = f"{folder_of_all}/requests/{hashlib.sha256(request).hexdigest()[:16]}.json"
        bucket.upload(file, key, lambda _: None)
        told = client.invoke_endpoint_async(
            EndpointName=endpoint.name,
            InputLocation=bucket.uri(key),
            ContentType=_JSON,
            InvocationTimeoutSeconds=ANSWERING,
        )
        good, bad = (place_of(told[place])[1] for place in ("OutputLocation", "FailureLocation"))
        until = time.monotonic() + ANSWERING
        try:
            while time.monotonic() < until:
                for place in (good, bad):
                    if bucket.size(place) is not None:
                        bucket.download(place, file, lambda _: None)
                        if place == bad:
                            raise _failed(endpoint, file.read_text(encoding="utf-8", errors="replace"))
                        return file.read_bytes()
                time.sleep(_PAUSE)
        except KeyboardInterrupt:
            raise Interrupted(
                "The question is asked, and its answer will come.",
                fix=f"look for it at {told['OutputLocation']}",
            ) from None
    raise _failed(endpoint, f"no answer came within {ANSWERING} s at {told['OutputLocation']}")


def _failed(endpoint: Endpoint, why: str) -> RunFailed:
    return RunFailed(
        f"The endpoint {endpoint.name} could not answer.",
        where=f"log group /aws/sagemaker/Endpoints/{endpoint.name}",
        why=harmless(" ".join(why.split()))[:_SHOWN],
        fix="correct what the reason names; the log says more",
    )


def _parsed(endpoint: Endpoint, answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError as error:
        raise _failed(endpoint, f"its answer is no JSON: {type(error).__name__}") from error
