"""Files that are either whole or not there, whatever stops the process.

A file or directory is made under a temporary name beside its place, synced, and renamed into
place. What a killed process leaves under temporary names is never read, and `clean` removes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from maporl_cli.core.errors import ConfigError, MaporlError, MissingError, RunFailed

_TEMPORARY = re.compile(r"^\.(new|old|gone)-(\d+)-[0-9a-f]{8}\.(.+)$")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM_TEXTS = ("No space left on device", "PytorchStreamWriter failed")
"""How safetensors and torch, which raise no OSError, say that the disk is full."""


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turns the disk errors a user can act on into sentences; others pass through.

    Raises:
        RunFailed: the disk is full, or a quota is used up.
        MissingError: no permission, or a read-only file system.
        ConfigError: a part of the path is a file, not a directory.
    """
    try:
        yield
    except MaporlError:
        raise
    except Exception as error:
        told = disk_error(error, str(path))
        if told is None:
            raise
        raise told from error


def disk_error(error: Exception, path: str) -> MaporlError | None:
    """The sentence for an error met while writing `path`; None where it is another kind of error."""
    code = error.errno if isinstance(error, OSError) else None
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if code in _NO_ROOM or (code is None and any(text in why for text in _NO_ROOM_TEXTS)):
        return RunFailed(
            f"There is no room left to write {path}.",
            why=why,
            fix="free some space and go on with --resume; what was complete before is untouched",
        )
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MissingError(
            f"{path} cannot be written.",
            why=why,
            fix="give a directory that you may write to, with --output-dir (maporl data: --out)",
        )
    if code in (errno.ENOTDIR, errno.EEXIST):
        return ConfigError(
            f"{path} cannot be written.",
            why=f"a part of this path is a file ({why})",
            fix="give another directory, with --output-dir (maporl data: --out)",
        )
    return None


def atomic_write(path: Path, data: str | bytes) -> None:
    """Writes a whole file, or leaves the one that is there as it is. Makes the directory if need be.

    Raises:
        MaporlError: as `disk_errors`.
    """
    content = data.encode() if isinstance(data, str) else data
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary("new", path)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)


@contextmanager
def atomic_dir(path: Path) -> Generator[Path]:
    """A directory to fill, which takes its place at `path` only once it is complete.

    A directory already at `path` is replaced, and stays if the block raises. Between the two
    renames of a replacement neither is at `path`; `clean` puts the old one back if the process
    is killed right there.

    Yields:
        the temporary directory; write into it, not into `path`.

    Raises:
        MaporlError: as `disk_errors`, also for disk errors of the block.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        building, aside = _temporary("new", path), _temporary("old", path)
        try:
            building.mkdir()
            yield building
            for folder, _, names in os.walk(building):
                for name in names:
                    _sync(Path(folder, name))
                _sync(Path(folder))
            replaces = path.is_dir()
            if replaces:
                path.rename(aside)
            try:
                building.rename(path)
            except BaseException:
                if replaces:
                    aside.rename(path)
                raise
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        _sync(path.parent)
        if replaces:
            shutil.rmtree(aside)


@contextmanager
def passing_dir(path: Path) -> Generator[Path]:
    """A directory beside `path` that is gone at the end; `clean` removes what a killed process leaves of it.

    Raises:
        OSError: it cannot be made.
    """
    folder = _temporary("new", path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def discard(path: Path) -> None:
    """Removes a directory so that a process killed on the way leaves no half of it at `path`.

    Raises:
        MaporlError: as `disk_errors`.
    """
    with disk_errors(path):
        gone = _temporary("gone", path)
        path.rename(gone)
        shutil.rmtree(gone)


def append_line(path: Path, line: str) -> None:
    """Adds one line to a file, whole or not at all; a line that was cut short earlier is dropped.

    The line is handed to the operating system, which keeps it if this process is killed; it is
    not forced to the disk, which would cost more than a training step.

    Raises:
        MaporlError: as `disk_errors`.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            end = _end_of_last_line(descriptor)
            os.ftruncate(descriptor, end)
            content = line.encode() + b"\n"
            try:
                written = os.pwrite(descriptor, content, end)
                if written < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)


def clean(folder: Path, *, deep: bool = True) -> None:
    """Removes what killed processes left under temporary names in `folder`, and below it if `deep`.

    A directory that was being replaced when its process was killed is put back. Names that
    belong to a process still alive are left alone.

    Raises:
        MaporlError: as `disk_errors`.
    """
    with disk_errors(folder):
        for parent, folders, names in os.walk(folder):
            for name in (*folders, *names):
                match = _TEMPORARY.match(name)
                if match is None or _alive(int(match[2])):
                    continue
                leftover, place = Path(parent, name), Path(parent, match[3])
                if match[1] == "old" and not place.exists():
                    leftover.rename(place)
                elif leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            folders[:] = [name for name in folders if deep and not _TEMPORARY.match(name)]


def _temporary(kind: str, path: Path) -> Path:
    return path.with_name(f".{kind}-{os.getpid()}-{secrets.token_hex(4)}.{path.name}")


def _alive(process: int) -> bool:
    """Whether another process of that number runs; this one has nothing open when it cleans."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_last_line(descriptor: int) -> int:
    """The offset behind the last newline, 0 where there is none."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
