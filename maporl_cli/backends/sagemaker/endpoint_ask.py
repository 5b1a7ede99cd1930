"""A request to an endpoint, and its answer: at once, or by way of S3."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
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


def ask_endpoint(session: Session, endpoint: Endpoint, request: bytes) -> bytes:
    """What the endpoint answers.

    Args:
        request: a body as `serving.requests` reads it.

    Raises:
        MissingError: it does not answer yet, or any more.
        RunFailed: it could not answer, or where its answer lies cannot be looked at.
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
        try:
            if endpoint.answers is not None:
                return _by_way_of_s3(session, client, endpoint, endpoint.answers, request)
            told = client.invoke_endpoint(EndpointName=endpoint.name, Body=request, ContentType=_JSON)
            return told["Body"].read()
        except KeyboardInterrupt:
            raise Interrupted(
                "The question may be asked already, and nobody waits for its answer.",
                why="what has reached the endpoint is answered all the same, before what is asked next",
                fix=f"maporl endpoints test {endpoint.name} asks again",
            ) from None


def _by_way_of_s3(session: Session, client: Any, endpoint: Endpoint, answers: str, request: bytes) -> bytes:
    output = endpoint.description["AsyncInferenceConfig"]["OutputConfig"]
    bucket_name, answers_folder = place_of(answers)
    bucket = Bucket(bucket_name, session, kms_key=output.get("KmsKeyId"))
    with TemporaryDirectory(prefix="maporl-") as folder:
        file = Path(folder) / "request.json"
        file.write_bytes(request)
        folder_of_all = answers_folder.rpartition("/")[0]
        key = f"{folder_of_all}/requests/{hashlib.sha256(request).hexdigest()[:16]}.json"
        bucket.upload(file, key, lambda _: None)
        told = client.invoke_endpoint_async(
            EndpointName=endpoint.name,
            InputLocation=bucket.uri(key),
            ContentType=_JSON,
            InvocationTimeoutSeconds=ANSWERING,
        )
        good, bad = told["OutputLocation"], told["FailureLocation"]
        look = f"look for it at {good}, or for why there is none at {bad}"
        try:
            came = _what_came(bucket, [good, bad], file)
        except KeyboardInterrupt:
            raise Interrupted("The question is asked, and its answer will come.", fix=look) from None
        except MaporlError as error:
            raise RunFailed(
                "The question is asked, and its answer will come, but it cannot be read from here.",
                where=error.where,
                why=f"{error.what} {error.why}".rstrip(),
                fix=f"log in as somebody who may read there (s3:GetObject, s3:ListBucket), and {look}",
            ) from error
        if came is None:
            raise RunFailed(
                f"The question is asked, and no answer came within {ANSWERING:,} s.",
                where=f"log group /aws/sagemaker/Endpoints/{endpoint.name}",
                fix=look,
            )
        content = file.read_bytes()
    if came == bad:
        raise _failed(endpoint, content.decode(errors="replace"))
    return content


def _what_came(bucket: Bucket, addresses: Sequence[str], file: Path) -> str | None:
    """Which of these objects came first, whose content is in the file then; None: none as long as may be."""
    until = time.monotonic() + ANSWERING
    while time.monotonic() < until:
        for address in addresses:
            key = place_of(address)[1]
            if bucket.size(key) is not None:
                bucket.download(key, file, lambda _: None)
                return address
        time.sleep(_PAUSE)
    return None


def _failed(endpoint: Endpoint, why: str) -> RunFailed:
    return RunFailed(
        f"The endpoint {endpoint.name} could not answer.",
        where=f"log group /aws/sagemaker/Endpoints/{endpoint.name}",
        why=harmless(" ".join(why.split()))[:_SHOWN],
        fix="correct what the reason names; the log says more",
    )
