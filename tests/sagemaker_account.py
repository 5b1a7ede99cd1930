"""An AWS account as moto plays it, with what a job needs, and the command that starts one."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.request import Request, urlopen

import pytest
import sagemaker_server as server
from boto3.session import Session
from conftest import AWS_SECRET
from moto.sagemaker.models import SageMakerModelBackend
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.errors import MaporlError

BUCKET = "maporl-jobs"
ROLE = "arn:aws:iam::123456789012:role/SageMaker"
MANIFEST = {"seed": 0, "resumed": []}
"""Of every run that `ends_at_once` leaves."""
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}


def product(usage: str, dollars: float) -> dict[str, Any]:
    """A line of AWS's price list."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{dollars:.10f}"}}
    return {
        "product": {"attributes": {"usagetype": usage, "instanceName": usage.partition(":")[2]}},
        "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}},
        "publicationDate": "2026-11-20T17:01:02Z",
    }


class PriceList:
    """A server of AWS's price list, which moto does not play."""

    def __init__(self) -> None:
        self.listed = [
            product("EUW1-Host:ml.g5.12xlarge", 9.0),
            product("EUW1-Train:ml.g5.12xlarge", 7.911),
            product("EUW1-Train:ml.g5.2xlarge", 1.7),
        ]
        listed = self.listed

        class Listing(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                region = {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "eu-west-1"}
                known = asked["ServiceCode"] == "AmazonSageMaker" and region in asked["Filters"]
                found = [json.dumps(one) for one in listed] if known else []
                body = json.dumps({"PriceList": found}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Listing)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class Account:
    """A bucket, a role that SageMaker may assume, and prices."""

    def __init__(self) -> None:
        self.prices = PriceList()
        session = Session()
        self.s3: Any = session.client("s3")
        self.iam: Any = session.client("iam")
        self.sagemaker: Any = session.client("sagemaker")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        policy = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        self.iam.create_role(RoleName="SageMaker", AssumeRolePolicyDocument=policy)

    def read(self, key: str) -> bytes:
        """An object's content."""
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def objects(self) -> list[str]:
        """The keys of all objects of the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def channel(self, request: dict[str, Any], name: str) -> str:
        """What the keys of a job's channel begin with."""
        found = next(one for one in request["InputDataConfig"] if one["ChannelName"] == name)
        return found["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{BUCKET}/").rstrip("/")

    def close(self) -> None:
        """Leave the server as it was found."""
        self.prices.close()
        urlopen(Request(f"{self.s3.meta.endpoint_url}/moto-api/reset", method="POST")).close()


class Requests(list[dict[str, Any]]):
    """The requests of one kind that were sent while it was entered, as botocore had them ready to send."""

    def __init__(self, operation: str) -> None:
        self._operation, self._patch = operation, pytest.MonkeyPatch()

    def __enter__(self) -> Requests:
        make = Session.client

        def seen(params: dict[str, Any], **_: Any) -> None:
            body = params["body"]
            self.append(json.loads(body) if isinstance(body, str | bytes) and body[:1] in ("{", b"{") else {})

        def client(session: Session, *args: Any, **named: Any) -> Any:
            made = make(session, *args, **named)
            made.meta.events.register(f"before-call.*.{self._operation}", seen)
            return made

        self._patch.setattr(Session, "client", client)
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


def dry_run(*words: str, sets: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """The request that a dry run prints, and what it says beside."""
    done = CliRunner().invoke(app, command("--dry-run", *words, sets=sets))
    if isinstance(done.exception, MaporlError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def refused(kind: type[MaporlError], *words: str, sets: tuple[str, ...] = ()) -> str:
    """What a launch is refused with; nothing was sent."""
    with Requests("CreateTrainingJob") as sent:
        done = CliRunner().invoke(app, command("--detach", "--yes", *words, sets=sets))
    assert isinstance(done.exception, kind), (done.exception, done.output)
    assert not sent
    assert AWS_SECRET not in done.exception.message
    return done.exception.message


def ends_at_once(account, monkeypatch, *, status: str, secondary: str) -> None:
    """Lets the server end a job as soon as it is created, with what such a job leaves."""
    create = SageMakerModelBackend.create_training_job

    def run(self: Any, *args: Any, **named: Any) -> Any:
        job = create(self, *args, **named)
        server.set_state(job, status, secondary, reason="AlgorithmError: no memory")
        name = job.training_job_name
        server.put_lines(f"{name}/algo-1-1", "[rank 0] step=1; train:loss=0.5;")
        results = {
            "run": "/opt/ml/checkpoints/ward",
            "steps": 4,
            "eval": {"after": {"accuracy": 0.5, "n": 12}},
        }
        left = io.BytesIO()
        with tarfile.open(fileobj=left, mode="w:gz") as packed:
            for file, told in (("training_results.json", results), ("manifest.json", MANIFEST)):
                info = tarfile.TarInfo(file)
                content = json.dumps(told).encode()
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
        account.s3.put_object(
            Bucket=BUCKET, Key=f"maporl/jobs/{name}/output/output.tar.gz", Body=left.getvalue()
        )
        return job

    monkeypatch.setattr(SageMakerModelBackend, "create_training_job", run)
    monkeypatch.setattr("maporl_cli.backends.sagemaker.logs.POLL_SECONDS", 0.01)
