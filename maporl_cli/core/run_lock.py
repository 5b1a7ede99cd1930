"""One training at a time in a run's directory, whoever started it and however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from maporl_cli.core.atomic import disk_errors
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.run_dir import RunDir

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that have no locks: there a run is on its own, as it was before."""


@contextmanager
def alone_in(run: RunDir) -> Generator[None]:
    """Holds the lock of a run, which may not exist yet; the system frees it when the process ends.

    The lock lies beside the directory, since `--overwrite` replaces that.

    Raises:
        ConfigError: another process holds it; names the run and the process.
    """
    path = _place(run)
    descriptor = _held(run, path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_held(run: RunDir) -> bool:
    """Whether a process trains in the run's directory now; where there are no locks, whether one began to."""
    try:
        descriptor = os.open(_place(run), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if not isinstance(error, BlockingIOError) and error.errno not in _NO_LOCKS:
            raise
        return True
    finally:
        os.close(descriptor)  # and with it the lock, at once
    return False


def _place(run: RunDir) -> Path:
    return run.path.with_name(f".{run.path.name}.lock")


def _held(run: RunDir, path: Path) -> int:
    """The descriptor of the lock file, locked, with this process's id in it."""
    while True:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            if not _locked(descriptor):
                holder = os.pread(descriptor, 32, 0).decode()
                os.close(descriptor)
                raise _busy(run, holder)
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
            os.close(descriptor)  # its last holder took the file away between our opening and locking it


def _locked(descriptor: int) -> bool:
    """Whether nobody else had the lock. Not `filelock`, which empties the file that names the holder."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _busy(run: RunDir, holder: str) -> ConfigError:
    return ConfigError(
        f"The run {run.path} is being trained already.",
        where=f"process {holder}",
        fix=f"wait for it, or stop it with `kill {holder}` (it writes a checkpoint first) and go on with "
        "--resume; another --name starts another run",
    )
