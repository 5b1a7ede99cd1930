"""Files in S3, where training jobs read and write them: sent in parts, never twice, and compared with what is
here; and brought back.

An object appears whole or not at all, so of an upload that is cut short no half file is ever seen; the next
one skips what is there and sends the rest.
"""

# boto3 and botocore leave their signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from boto3.exceptions import RetriesExceededError
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.exceptions import ClientError

from maporl_cli.core.errors import ConfigError, MaporlError, MissingError, RunFailed
from maporl_cli.data.aws import FORBIDDEN, Telling, aws_client, aws_errors, error_code

PART = 16 * 2**20
"""Bytes that are sent at once. S3 takes 10,000 parts of an object: files up to 156 GiB."""
_GONE = ("404", "NoSuchBucket", "NotFound")


class Bucket:
    """A bucket of one's own.

    Args:
        name: of the bucket.
        session: in the region where jobs shall run.
        kms_key: encrypts what is sent; None: as the bucket does by itself.

    Raises:
        MissingError: no credentials, no such bucket, no right to it, or nobody answers.
        ConfigError: it is in another region, from which jobs cannot read.
    """

    def __init__(self, name: str, session: Session, *, kms_key: str | None = None) -> None:
        self.name = name
        self._encrypted = (
            {} if kms_key is None else {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
        )
        self._client: Any = aws_client(session, "s3")
        here = session.region_name
        with self._errors(f"s3://{name}"):
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
        with self._errors(self.uri(key)):
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

    def copy_from(self, uri: str, key: str) -> None:
        """Copy an object of any bucket that may be read to here, without bringing it to this machine.

        Raises:
            MaporlError: as `aws_errors`.
        """
        bucket, source = place_of(uri)
        with aws_errors(uri, _telling(bucket, uri)):
            self._client.copy(
                {"Bucket": bucket, "Key": source},
                self.name,
                key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256", **self._encrypted},
                # In parts as an upload, so that its checksum is that of the upload.
                Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART),
            )

    def refuse_other(self, key: str, path: Path | None, *, upload_as: str) -> None:
        """Nothing, where an object is what the file here is.

        Args:
            path: the file; None: the object only has to be there.
            upload_as: the channel that it belongs to.

        Raises:
            ConfigError: there is no such object, or it is something else.
        """
        file = path or key.rpartition("/")[2]
        sent = f"maporl data upload {file} --channel {upload_as} --bucket {self.name}"
        if self.size(key) is None:
            raise ConfigError(f"{file} is not among what was uploaded.", where=self.uri(key), fix=sent)
        with self._errors(self.uri(key)):
            same = path is None or self._holds(key, path.stat().st_size, checksum_of(path))
        if not same:
            raise ConfigError(
                f"{path} has changed since it was uploaded.",
                where=self.uri(key),
                why="the job would train on what was there before",
                fix=sent,
            )

    def size(self, key: str) -> int | None:
        """An object's bytes; None: there is no such object.

        Raises:
            MaporlError: as `aws_errors`.
        """
        with self._errors(self.uri(key)):
            found = self._head(key)
        return None if found is None else found["ContentLength"]

    def download(self, key: str, path: Path, on_bytes: Callable[[int], None]) -> None:
        """Bring an object here, and see that all of it came.

        Args:
            path: where it is put; nothing is there if it fails.
            on_bytes: told how many more bytes are here.

        Raises:
            MaporlError: as `aws_errors`.
            MissingError: it is not there.
            RunFailed: what came is something else.
        """
        size = self.size(key)
        if size is None:
            raise MissingError(
                "There is no such object.",
                where=self.uri(key),
                fix="look at the address, and at who wrote it",
            )
        with self._errors(self.uri(key)):
            try:
                self._client.download_file(self.name, key, str(path), Callback=on_bytes)
            except RetriesExceededError as error:
                raise error.last_exception from error
        if path.stat().st_size != size:
            path.unlink()
            raise RunFailed(
                "What came is not what is there.",
                where=self.uri(key),
                why="its size is another one; it may have been replaced meanwhile",
                fix="run the same command again",
            )

    def others(self, prefix: str, keys: Collection[str]) -> list[str]:
        """What lies below a prefix beside these keys: who reads the prefix reads it, too.

        Raises:
            MaporlError: as `aws_errors`.
        """
        with self._errors(self.uri(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
            found = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return [key for key in found if key not in keys]

    def _errors(self, where: str) -> AbstractContextManager[None]:
        return aws_errors(where, _telling(self.name, where))

    def _head(self, key: str) -> Mapping[str, Any] | None:
        """What S3 says of an object; None: there is no such object."""
        try:
            return self._client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error_code(error) in _GONE:
                return None
            raise

    def _holds(self, key: str, size: int, checksum: str) -> bool:
        found = self._head(key)
        if found is None:
            return False
        # Of an object in parts S3 tells how many there are, too: "checksum-3".
        return found["ContentLength"] == size and found.get("ChecksumSHA256", "").split("-")[0] == checksum


def place_of(uri: str) -> tuple[str, str]:
    """The bucket and the key of an address such as `s3://bucket/a/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


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


def _telling(bucket: str, where: str) -> Telling:
    """What errors mean of a bucket."""

    def forbidden(message: str) -> MaporlError:
        return MissingError(
            "AWS does not allow it.",
            where=where,
            why=f"{message}: the bucket or key is somebody else's, or these credentials have no right to it",
            fix="take a bucket of your own with --bucket, or have s3:PutObject, s3:GetObject and "
            "s3:ListBucket allowed for it",
        )

    def gone(message: str) -> MaporlError:
        del message
        return MissingError(
            "There is no such bucket.", where=where, fix=f"aws s3 mb s3://{bucket}, or --bucket NAME"
        )

    return dict.fromkeys(FORBIDDEN, forbidden) | dict.fromkeys(_GONE, gone)
