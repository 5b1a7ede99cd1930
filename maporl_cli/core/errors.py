"""Every failure a user can meet: what went wrong, where, why, and how to fix it.

The command line prints `MaporlError` as sentences and exits with its `exit_code`;
a traceback appears only under `MAPORL_DEBUG=1`.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path


class MaporlError(Exception):
    """A failure with a cause the user can act on.

    Args:
        what: what failed, as one sentence.
        where: the file, line, key, agent or rank it failed at; empty if `what` names it.
        why: the reason, as far as it is known.
        fix: what to do about it, often a command. Printed after `Fix:`.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str) -> None:
        self.what, self.where, self.why, self.fix = what, where, why, fix
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The whole error as text: what, where, why, and a last line that starts with `Fix:`."""
        lines = [self.what]
        if self.where:
            lines.append(f"Where: {self.where}")
        if self.why:
            lines.append(f"Why: {self.why}")
        lines.append(f"Fix: {self.fix}")
        return "\n".join(lines)


class RunFailed(MaporlError):
    """The run or job itself failed: NaN in a loss, a dead rank, a full disk."""

    exit_code = 1


def damaged(path: Path, error: Exception) -> RunFailed:
    """The error for a file of a run that maporl wrote and cannot read any more."""
    return RunFailed(
        "A file of the run is damaged.",
        where=str(path),
        why=f"{type(error).__name__}: {error}",
        fix="put it back from a copy, or start the run again with --overwrite",
    )


def unforeseen(who: str, error: Exception, *, fix: str) -> RunFailed:
    """An error nobody foresaw, without its own text, which may quote data."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return RunFailed(
        f"{who} met an error that it does not know: {type(error).__name__}.",
        where=f"{Path(at.filename).name}, line {at.lineno}",
        fix=fix,
    )


class UsageError(MaporlError):
    """The command was spelled in a way that has no meaning."""

    exit_code = 2


class ConfigError(MaporlError):
    """A config value is unknown, mistyped or contradicts another one."""

    exit_code = 3


class DataError(MaporlError):
    """A data file cannot be read as questions, or must not be used as it is."""

    exit_code = 3


class MissingError(MaporlError):
    """Something the command needs is not there: a model, a package, credentials, hardware."""

    exit_code = 4


class Interrupted(MaporlError):
    """Ctrl-C or SIGTERM; the checkpoint was written first."""

    exit_code = 130


def debugging(environ: Mapping[str, str]) -> bool:
    """Whether tracebacks are wanted: `MAPORL_DEBUG` is set, and not to 0."""
    return environ.get("MAPORL_DEBUG", "0") not in ("", "0")
