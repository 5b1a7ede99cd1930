"""The archives that a job leaves, unpacked without trusting what is in them."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from maporl_cli.core.errors import DataError, RunFailed

_CHUNK = 2**20


def unpack(archive: Path, folder: Path, *, source: str, below: str | None = None) -> None:
    """Unpack files and folders; of symbolic links that stay inside, of which W&B makes some, none is made.

    Args:
        archive: a gzipped tar.
        folder: where its root comes to lie.
        source: what the archive is called in errors.
        below: the one folder of its root that is wanted; None: all.

    Raises:
        DataError: something in it would lie elsewhere, leads there, or is a hard link or a device.
        RunFailed: it is damaged.
    """
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in _wanted(tar, folder, source, below):
                    tar.extract(member, folder, filter="data")
            # `tarfile` takes an archive that is cut between two files for a whole one, and never looks at the
            # checksum, which lies behind the last.
            while stream.read(_CHUNK):
                pass
    except tarfile.FilterError as error:
        raise _refused(source, str(error)) from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RunFailed(
            "An archive of the job is damaged.",
            where=source,
            why=f"{type(error).__name__}: {error}",
            fix="run the same command again; if it stays so, the job wrote it so",
        ) from error


def _wanted(tar: tarfile.TarFile, folder: Path, source: str, below: str | None) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        path = PurePosixPath(member.name)
        # The filter `data` would make a relative path of an absolute one.
        if path.is_absolute() or ".." in path.parts:
            raise _refused(source, f"{member.name!r} would lie outside of the run")
        tarfile.data_filter(member, str(folder))
        if not (member.isfile() or member.isdir() or member.issym()):
            raise _refused(source, f"{member.name!r} is a hard link or a device")
        if not member.issym() and (below is None or path.parts[:1] == (below,)):
            yield member


def _refused(source: str, why: str) -> DataError:
    return DataError(
        "An archive of the job holds what no run has.",
        where=source,
        why=why,
        fix="look at who can write to that bucket; nothing of it was kept",
    )
