"""A job's results as a run on this machine, which every command takes that takes a run."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from boto3.session import Session

from maporl_cli.backends.sagemaker.archives import unpack
from maporl_cli.backends.sagemaker.jobs import Job, channel_uri
from maporl_cli.backends.sagemaker.paths import CONFIG_CHANNEL, LOCAL_CONFIG
from maporl_cli.core.atomic import atomic_dir, atomic_write, clean, disk_errors
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.run_lock import alone_in
from maporl_cli.data.s3 import Bucket, place_of

Transfer = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Opens a display of so many bytes; what it yields is told how many more have come."""
_CHUNK = 2**16


@dataclass(frozen=True)
class Fetched:
    """What a job left.

    Attributes:
        run: where it lies now.
        lacking: what of it was not there, in words.
    """

    run: RunDir
    lacking: list[str]


def fetch(
    session: Session,
    job: Job,
    *,
    output_dir: Path | None,
    overwrite: bool,
    transfer: Transfer,
    config: Config | None = None,
) -> Fetched:
    """Bring a job's models and outputs here, whole or not at all.

    Args:
        job: with its tags.
        output_dir: where the run's directory is made; None: where the job's config says.
        overwrite: replace a run that is there.
        transfer: shows how much has come.
        config: of the run that it becomes; None: that which the job was launched with.

    Raises:
        MissingError: the job goes on, is not ours, or left nothing.
        ConfigError: there is a run already, or what is there is no run.
        DataError, RunFailed: as `unpack`; or the disk is full.
        MaporlError: as `aws_errors`.
    """
    if not job.ended:
        raise MissingError(
            f"The job {job.name} has not ended.",
            why=f"it is {job.status} ({job.secondary}), and SageMaker hands results out at the end",
            fix=f"maporl logs {job.name} -f waits for it; maporl jobs stop {job.name} ends it",
        )
    config = config or local_config(session, job, output_dir)
    run = RunDir.of(config)
    if run.is_there(otherwise="choose another --output-dir") and not overwrite:
        raise ConfigError(
            f"The run {run.path} exists.",
            fix="--overwrite replaces it, another --output-dir leaves it alone",
        )
    archives = {"its models": job.model, "the rest of its run": job.output}
    there = {what: _Archive.found(session, uri) for what, uri in archives.items()}
    sizes = [one.size for one in there.values() if one]
    if not sizes:
        raise MissingError(
            f"The job {job.name} left nothing.",
            where=job.output or "",
            why=job.failure or "it ended before it wrote anything",
            fix=f"maporl logs {job.name} shows how far it came",
        )
    with disk_errors(run.path):
        run.path.parent.mkdir(parents=True, exist_ok=True)
    clean(run.path.parent, deep=False)
    with alone_in(run), atomic_dir(run.path) as building, transfer(sum(sizes)) as on_bytes:
        for what, below in (("its models", "final_model"), ("the rest of its run", None)):
            if archive := there[what]:
                archive.bring(building, below, on_bytes)
        _make_local(building, run.config_text(config))
    return Fetched(run, [what for what, archive in there.items() if not archive])


@dataclass(frozen=True)
class _Archive:
    bucket: Bucket
    key: str
    size: int

    @classmethod
    def found(cls, session: Session, uri: str | None) -> _Archive | None:
        if uri is None:
            return None
        bucket, key = _at(session, uri)
        size = bucket.size(key)
        return None if size is None else cls(bucket, key, size)

    def bring(self, folder: Path, below: str | None, on_bytes: Callable[[int], None]) -> None:
        # Beside its content, so that one disk holds both; and gone before the next one comes.
        with TemporaryDirectory(prefix=".archive-", dir=folder) as place:
            packed = Path(place) / "archive.tar.gz"
            self.bucket.download(self.key, packed, on_bytes)
            unpack(packed, folder, source=self.bucket.uri(self.key), below=below)


def local_config(session: Session, job: Job, output_dir: Path | None) -> Config:
    """The config that the job was launched with, naming the place that its run gets here.

    Args:
        output_dir: as `fetch`.

    Raises:
        MissingError: the job is not ours.
    """
    uri = channel_uri(job.description, CONFIG_CHANNEL)
    if uri is None:
        raise _not_ours(job)
    bucket, key = _at(session, f"{uri}/{LOCAL_CONFIG}")
    if bucket.size(key) is None:
        raise _not_ours(job)
    with TemporaryDirectory() as folder:
        file = Path(folder) / LOCAL_CONFIG
        bucket.download(key, file, lambda _: None)
        config = load_config(file=file).config
    places = {
        "name": config.run.name or job.name,
        "output_dir": output_dir or config.run.output_dir,
    }
    return config.model_copy(update={"run": config.run.model_copy(update=places)})


def _at(session: Session, uri: str) -> tuple[Bucket, str]:
    bucket, key = place_of(uri)
    return Bucket(bucket, session), key


def _make_local(building: Path, config: str) -> None:
    """What differs between a run's directory on SageMaker and one here."""
    atomic_write(building / "config.yaml", config)
    packed = building / "training.log.gz"
    if packed.is_file():
        # A job that was killed may have cut it short: what can be read is kept, and then the archive, too.
        # `gzip` would hold back what comes just before the cut.
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        with packed.open("rb") as source, (building / "training.log").open("wb") as log, suppress(zlib.error):
            while part := source.read(_CHUNK):
                log.write(unpacker.decompress(part))
        if unpacker.eof and not unpacker.unused_data:
            packed.unlink()


def _not_ours(job: Job) -> MissingError:
    return MissingError(
        f"The job {job.name} was not launched by maporl.",
        why=f"it has no channel {CONFIG_CHANNEL!r} with a {LOCAL_CONFIG}",
        fix="maporl jobs ls lists the jobs that maporl launched",
    )
