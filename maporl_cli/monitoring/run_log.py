"""What a run on this machine says: all that is there, or followed until the run ends."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from maporl_cli.core.errors import MaporlError, MissingError, RunFailed, damaged
from maporl_cli.core.harmless import harmless
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.run_lock import is_held

POLL_SECONDS = 0.5


def show_run(run: RunDir, *, rank: int | None, follow: bool, show: Callable[[int | None, str], None]) -> bool:
    """Show a run's `training.log`, or what one rank said.

    Args:
        follow: go on until the run has ended.
        show: given each line once, and the rank.

    Returns:
        whether the run goes on.

    Raises:
        MissingError: there is no such log.
        RunFailed: the log is damaged.
    """
    path = run.training_log if rank is None else run.rank_log(rank)
    tail = _Tail(path)
    try:
        while True:
            going = is_held(run)  # before the lines: what it wrote before it ended is shown
            for line in tail.new_lines():
                show(rank, harmless(line))
            if not (going and follow):
                break
            time.sleep(POLL_SECONDS)
        for line in tail.rest() if not going else ():
            show(rank, harmless(line))
        if not tail.found and not going:
            _show_packed(run, path, rank, show)
        elif not tail.found:
            raise _no_log(run, path, "nothing was written to it yet")
    finally:
        tail.close()
    return going


def outcome(run: RunDir) -> MaporlError | None:
    """The error of a run that has ended before it was done; None for one that was done."""
    if run.results.is_file():
        return None
    return RunFailed(
        f"The run {run.path} ended before it was done.",
        why="it has no training_results.json, and nobody trains in it",
        fix=f"maporl train --config {run.config} --resume goes on from its last checkpoint",
    )


class _Tail:
    """The whole lines that a file got since they were last asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._begun = b""
        self.found = False

    def new_lines(self) -> Iterator[str]:
        """The lines that came; all of a file that took its place, too."""
        while True:
            if self._file is None and not self._open():
                return
            assert self._file is not None
            # The name first: a file that is replaced after this look is read to its end all the same.
            replaced = self._replaced()
            for part in self._file:
                self._begun += part
                if self._begun.endswith(b"\n"):
                    yield self._text()
            if not replaced:
                return
            yield from self.rest()
            self.close()

    def rest(self) -> Iterator[str]:
        """The line that was begun and will not be ended any more."""
        if self._begun:
            yield self._text()

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _text(self) -> str:
        line, self._begun = self._begun, b""
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return False
        self.found = True
        return True

    def _replaced(self) -> bool:
        """Whether another file has the name now, as after `--overwrite`."""
        assert self._file is not None
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False


def _show_packed(run: RunDir, path: Path, rank: int | None, show: Callable[[int | None, str], None]) -> None:
    packed = path.with_name(f"{path.name}.gz")
    try:
        with gzip.open(packed, "rt", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                show(rank, harmless(line.rstrip("\r\n")))
    except FileNotFoundError:
        raise _no_log(run, path, "the run did not write it") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(packed, error) from error


def _no_log(run: RunDir, path: Path, why: str) -> MissingError:
    ranks = sorted(run.rank_log(0).parent.glob("rank_*.log"))
    there = [log.name for log in (run.training_log, *ranks) if log.is_file()]
    return MissingError(
        f"There is no {path}.",
        why=f"{why}; the run has {', '.join(there) or 'no log'}",
        fix="name one of those: --rank R, or no --rank for the run's own",
    )
