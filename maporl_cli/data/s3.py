"""Files in S3, where training jobs read them: sent in parts, never twice, and compared with what is here.

An object appears whole or not at all, so of an upload that is cut short no half file is ever seen; the next
one skips what is there and sends the rest.
"""

# boto3 and botocore leave their signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config as BotoConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from maporl_cli.core.errors import ConfigError, MaporlError, MissingError, RunFailed

PART = 16 * 2**20
"""Bytes that are sent at once. S3 takes 10,000 parts of an object: files up to 156 GiB."""
_RETRIES: Any = {"mode": "standard", "max_attempts": 6}
"""Throttled or failing requests are tried again, at growing intervals."""
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_UNKNOWN_KEY = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"})
_FORBIDDEN = frozenset({"403", "AccessDenied", "Forbidden", "AllAccessDisabled"})
_GONE = frozenset({"404", "NoSuchBucket", "NotFound"})


class Bucket:
    """A bucket of one's own.

    Args:
        name: of the bucket.
        region: where jobs shall run; None: as the AWS configuration says.
        kms_key: encrypts what is sent; None: as the bucket does by itself.

    Raises:
        MissingError: no credentials, no such bucket, no right to it, or nobody answers.
        ConfigError: it is in another region, from which jobs cannot read.
    """

    def __init__(self, name: str, *, region: str | None = None, kms_key: str | None = None) -> None:
        self.name = name
        self._encrypted = (
            {} if kms_key is None else {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
        )
        with aws_errors(f"s3://{name}"):
            session = Session(region_name=region)
            here = session.region_name
            if here is None:
                raise MissingError("No AWS region is set.", fix="--region R, or set AWS_DEFAULT_REGION")
            self._client: Any = session.client("s3", config=BotoConfig(retries=_RETRIES))
            there = self._client.head_bucket(Bucket=name).get("BucketRegion", here)
        if there != here:
            raise ConfigError(
                f"The bucket {name} is in another region.",
                where=f"s3://{name}",
                why=f"it is in {there}, and jobs in {here} cannot read it",
                fix=f"--region {there}, or take a bucket in {here}",
            )

    def uri(self, key: str) -> str:
        """An object's address."""
        return f"s3://{self.name}/{key}"

    def upload(self, path: Path, key: str, on_bytes: Callable[[int], None]) -> bool:
        """Send a file, and see that what is there is what is here.

        Args:
            on_bytes: told how many more bytes are there.

        Returns:
            whether it had to be sent.

        Raises:
            MaporlError: as `aws_errors`.
            RunFailed: what arrived is something else.
        """
        size, checksum = path.stat().st_size, checksum_of(path)
        with aws_errors(self.uri(key)):
            if self._holds(key, size, checksum):
                on_bytes(size)
                return False
            self._client.upload_file(
                str(path),
                self.name,
                key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256", **self._encrypted},
                Callback=on_bytes,
                Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
            )
            if self._holds(key, size, checksum):
                return True
        raise RunFailed(
            "What arrived is not what was sent.",
            where=self.uri(key),
            why=f"its size or checksum is not that of {path}, which may have changed meanwhile",
            fix="run the same command again",
        )

    def others(self, prefix: str, keys: Collection[str]) -> list[str]:
        """What lies below a prefix beside these keys: who reads the prefix reads it, too.

        Raises:
            MaporlError: as `aws_errors`.
        """
        with aws_errors(self.uri(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            found = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return [key for key in found if key not in keys]

    def _holds(self, key: str, size: int, checksum: str) -> bool:
        try:
            found = self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return False
            raise
        # Of an object in parts S3 tells how many there are, too: "checksum-3".
        return found["ContentLength"] == size and found.get("ChecksumSHA256", "").split("-")[0] == checksum


def checksum_of(path: Path) -> str:
    """The SHA-256 that S3 tells of a file that was sent in parts of `PART` bytes: of one part its own, of
    several that of their checksums in a row ("Checking object integrity", Amazon S3 User Guide)."""
    parts: list[bytes] = []
    with path.open("rb") as file:
        while content := file.read(PART):
            parts.append(hashlib.sha256(content).digest())
    if path.stat().st_size < PART:
        whole = parts[0] if parts else hashlib.sha256(b"").digest()
    else:
        whole = hashlib.sha256(b"".join(parts)).digest()
    return b64encode(whole).decode()


@contextmanager
def aws_errors(where: str) -> Generator[None]:
    """Turns what AWS and the way to it say into our errors; never with a key or token in them.

    Raises:
        MissingError: credentials, a right, a bucket or the connection is missing.
        RunFailed: anything else that AWS answers.
    """
    try:
        yield
    except S3UploadFailedError as error:
        cause = error.__cause__ or error.__context__
        raise _told(cause if isinstance(cause, Exception) else error, where) from error
    except (ClientError, BotoCoreError) as error:
        raise _told(error, where) from error


def _told(error: Exception, where: str) -> MaporlError:
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return MissingError(
            "There are no AWS credentials.",
            where=where,
            fix="aws configure, aws sso login, or set AWS_PROFILE",
        )
    if isinstance(error, ConnectionError | HTTPClientError):
        return MissingError(
            "AWS does not answer.",
            where=where,
            why=type(error).__name__,
            fix="look at the connection, proxy and region, and run the same command again",
        )
    if isinstance(error, ParamValidationError):
        why = str(error).splitlines()[-1].strip()
        return ConfigError("AWS cannot be asked for that.", where=where, why=why, fix="correct the name")
    if not isinstance(error, ClientError):
        return RunFailed(
            "AWS could not be asked.", where=where, why=type(error).__name__, fix="see the reason"
        )
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _EXPIRED:
        return MissingError(
            "The AWS credentials have expired.", where=where, fix="log in again, and run the same command"
        )
    if code in _UNKNOWN_KEY:
        return MissingError(
            "AWS does not know these credentials.", where=where, why=code, fix="aws configure, or AWS_PROFILE"
        )
    if code in _FORBIDDEN:
        return MissingError(
            "AWS does not allow it.",
            where=where,
            why=f"{code}: the bucket or key is somebody else's, or these credentials have no right to it",
            fix="take a bucket of your own with --bucket, or have s3:PutObject, s3:GetObject and "
            "s3:ListBucket allowed for it",
        )
    if code in _GONE:
        return MissingError(
            "There is no such bucket.", where=where, fix=f"aws s3 mb {where}, or --bucket NAME"
        )
    message = str(error.response.get("Error", {}).get("Message", ""))
    return RunFailed("AWS refused the request.", where=where, why=f"{code}: {message}", fix="see the reason")
