"""`maporl data upload` to S3 as moto plays it over HTTP: what arrives, what is not sent twice, what fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session
from conftest import AWS_SECRET
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.errors import ConfigError, DataError, MaporlError, MissingError, RunFailed
from maporl_cli.data import s3
from maporl_cli.data.aws import aws_session
from maporl_cli.data.channels import NOTED, noted_channels
from maporl_cli.data.s3 import Bucket, checksum_of

BUCKET = "maporl-test"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def bucket(aws) -> Iterator[Any]:
    """An empty bucket, and a user who may use it."""
    client: Any = Session().client("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    for one in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=one["Key"])
    client.delete_bucket(Bucket=BUCKET)


def questions(path: Path, count: int = 3) -> Path:
    rows = [{"id": f"{path.stem}{n}", "question": f"Case {n}?", "answer": f"drug {n}"} for n in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def upload(*words: str) -> str:
    done = CliRunner().invoke(app, ["data", "upload", *words])
    if isinstance(done.exception, MaporlError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def content(client: Any, key: str) -> bytes:
    return client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_what_is_here_is_there_and_noted_for_the_launch(bucket, tmp_path) -> None:
    file = questions(tmp_path / "mine.jsonl")
    told = json.loads(upload(str(file), "--channel", "train", "--bucket", BUCKET, "--json"))
    uri = f"s3://{BUCKET}/maporl/train/"
    assert told == {
        "channel": "train",
        "uri": uri,
        "files": [{"path": str(file), "uri": f"{uri}mine.jsonl", "sent": True}],
    }
    assert content(bucket, "maporl/train/mine.jsonl") == file.read_bytes()
    assert noted_channels() == {"train": uri}
    upload(
        str(questions(tmp_path / "held.jsonl")), "--channel", "eval", "--bucket", BUCKET, "--prefix", "a/b/"
    )
    assert noted_channels() == {"train": uri, "eval": f"s3://{BUCKET}/a/b/eval/"}


def test_what_is_there_is_not_sent_twice_and_what_changed_is(bucket, tmp_path) -> None:
    folder = tmp_path / "rows"
    first, second = questions(folder / "a.jsonl"), questions(folder / "b.jsonl", 5)
    words = (str(folder), "--channel", "train", "--bucket", BUCKET)
    upload(*words)
    stamp = bucket.head_object(Bucket=BUCKET, Key="maporl/train/a.jsonl")["LastModified"]
    second.write_text(second.read_text().replace("drug 4", "drug 5"))
    time.sleep(1.1)
    said = upload(*words).splitlines()
    assert said[:2] == [
        f"s3://{BUCKET}/maporl/train/a.jsonl: was there already",
        f"s3://{BUCKET}/maporl/train/b.jsonl: sent",
    ]
    assert bucket.head_object(Bucket=BUCKET, Key="maporl/train/a.jsonl")["LastModified"] == stamp
    assert content(bucket, "maporl/train/b.jsonl") == second.read_bytes()
    assert first.exists()


def test_what_jobs_would_read_as_well_is_told(bucket, tmp_path) -> None:
    upload(str(questions(tmp_path / "old.jsonl")), "--channel", "train", "--bucket", BUCKET)
    done = CliRunner().invoke(
        app,
        ["data", "upload", str(questions(tmp_path / "new.jsonl")), "--channel", "train", "--bucket", BUCKET],
    )
    assert f"s3://{BUCKET}/maporl/train/old.jsonl is there as well" in done.stderr


@pytest.mark.parametrize("size", [0, 1, 5 * 2**20 - 1, 5 * 2**20, 5 * 2**20 + 1, 12 * 2**20])
def test_the_checksum_is_the_one_that_s3_tells(bucket, tmp_path, monkeypatch, size: int) -> None:
    """Of parts of 5 MiB, the least that S3 takes."""
    monkeypatch.setattr(s3, "PART", 5 * 2**20)
    file = tmp_path / "rows.jsonl"
    file.write_bytes(os.urandom(size))
    told: list[int] = []
    target = Bucket(BUCKET, aws_session(None))
    assert target.upload(file, "k", told.append) is True
    assert sum(told) == size
    assert content(bucket, "k") == file.read_bytes()
    assert target.upload(file, "k", told.append) is False
    if size < 5 * 2**20:
        assert checksum_of(file) == b64encode(sha256(file.read_bytes()).digest()).decode()


def test_something_else_of_the_same_size_is_not_what_is_here(bucket, tmp_path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"mine")
    bucket.put_object(Bucket=BUCKET, Key="k", Body=b"his!")
    assert Bucket(BUCKET, aws_session(None)).upload(file, "k", lambda _: None) is True
    assert content(bucket, "k") == b"mine"


def test_what_arrives_changed_is_an_error(bucket, tmp_path, monkeypatch) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"mine")
    monkeypatch.setattr(s3, "checksum_of", lambda path: "another")
    with pytest.raises(RunFailed, match="not what was sent"):
        Bucket(BUCKET, aws_session(None)).upload(file, "k", lambda _: None)


def test_a_kms_key_is_passed_on(bucket, tmp_path) -> None:
    file = questions(tmp_path / "mine.jsonl")
    upload(str(file), "--channel", "train", "--bucket", BUCKET, "--kms-key", KEY)
    found = bucket.head_object(Bucket=BUCKET, Key="maporl/train/mine.jsonl")
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", KEY)


KILLED = """
import sys
from pathlib import Path
from maporl_cli.data import s3
from maporl_cli.data.aws import aws_session
s3.PART = 5 * 2**20
print("begun", flush=True)
s3.Bucket(sys.argv[1], aws_session(None)).upload(Path(sys.argv[2]), "k", lambda more: print(more, flush=True))
"""


def test_of_an_upload_that_was_killed_no_object_is_left_and_the_next_one_ends_it(bucket, tmp_path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(os.urandom(64 * 2**20))
    going = subprocess.Popen(
        [sys.executable, "-c", KILLED, BUCKET, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert going.stdout is not None
    while going.stdout.readline().strip() in ("begun", ""):
        assert going.poll() is None
    going.send_signal(signal.SIGKILL)
    going.communicate()
    assert bucket.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    assert Bucket(BUCKET, aws_session(None)).upload(file, "k", lambda _: None) is True
    assert content(bucket, "k") == file.read_bytes()


def refused(kind: type[MaporlError], code: int, *words: str) -> str:
    with pytest.raises(kind) as told:
        upload(*words)
    assert told.value.exit_code == code
    assert AWS_SECRET not in told.value.message
    assert not NOTED.exists(), "nothing was uploaded"
    return told.value.message


def test_what_is_no_data_is_refused_before_aws_is_asked(bucket, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(s3, "Bucket", lambda *_, **__: pytest.fail("asked"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "no answer"}\n')
    (tmp_path / "empty").mkdir()
    for path in (bad, tmp_path / "empty", tmp_path / "absent.jsonl"):
        assert "Fix: " in refused(DataError, 3, str(path), "--channel", "train", "--bucket", BUCKET)


def test_without_credentials(bucket, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    words = (str(questions(tmp_path / "mine.jsonl")), "--channel", "train", "--bucket", BUCKET)
    assert "Fix: aws configure" in refused(MissingError, 4, *words)


def test_without_a_region(bucket, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    words = (str(questions(tmp_path / "mine.jsonl")), "--channel", "train", "--bucket", BUCKET)
    assert "Fix: --region R" in refused(MissingError, 4, *words)
    upload(*words, "--region", "eu-west-1")


def test_a_bucket_that_is_not_there_or_has_no_name(bucket, tmp_path) -> None:
    words = (str(questions(tmp_path / "mine.jsonl")), "--channel", "train", "--bucket")
    assert "Fix: aws s3 mb s3://absent-bucket" in refused(MissingError, 4, *words, "absent-bucket")
    assert "Fix: " in refused(ConfigError, 3, *words, "No Bucket!")


def test_a_bucket_in_another_region(bucket, tmp_path) -> None:
    words = (str(questions(tmp_path / "mine.jsonl")), "--channel", "train", "--bucket", BUCKET)
    assert "Fix: --region eu-west-1" in refused(ConfigError, 3, *words, "--region", "us-east-2")


def test_nobody_answers(bucket, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("maporl_cli.data.aws._RETRIES", {"mode": "standard", "total_max_attempts": 1})
    words = (str(questions(tmp_path / "mine.jsonl")), "--channel", "train", "--bucket", BUCKET)
    assert "AWS does not answer." in refused(MissingError, 4, *words)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        ("ExpiredToken", MissingError, "have expired"),
        ("InvalidAccessKeyId", MissingError, "does not know these credentials"),
        ("AccessDenied", MissingError, "does not allow"),
        ("SlowDown", MissingError, "asks for a pause"),
        ("Unheard", RunFailed, "Unheard: reduce your rate"),
    ],
)
def test_what_aws_refuses_in_the_middle_is_told(bucket, tmp_path, code: str, kind: Any, says: str) -> None:
    """The server accepts the questions about the bucket, and refuses the file."""
    target = Bucket(BUCKET, aws_session(None))
    told = {"Error": {"Code": code, "Message": "reduce your rate"}}

    def refuse(**_: Any) -> None:
        raise target._client.exceptions.ClientError(told, "PutObject")

    target._client.meta.events.register("before-parameter-build.s3.PutObject", refuse)
    with pytest.raises(kind, match=says):
        target.upload(questions(tmp_path / "mine.jsonl"), "k", lambda _: None)


def test_a_note_that_is_damaged_says_how_to_make_another(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    NOTED.parent.mkdir()
    NOTED.write_text("{")
    with pytest.raises(ConfigError, match=r"(?s)damaged.*Fix: remove"):
        noted_channels()
