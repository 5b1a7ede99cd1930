"""Says which phase a run is in, and whether the user wants it to stop there."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from maporl_cli.core.errors import Interrupted
from maporl_cli.monitoring.console import Display
from maporl_cli.monitoring.job_lines import print_line
from maporl_cli.monitoring.log_file import LogFile
from maporl_cli.training.stop import StopRequest


class Narrator:
    """Lines on stderr between training steps, which have a sink of their own.

    Args:
        display: `none` says nothing.
        stop: asked whenever a phase of a run reports progress; phases outside of training have
            nothing to save, so they stop where they are. Commands that keep nothing for a
            `--resume` give none: Ctrl-C ends them at once.
        run: the name of the run that is trained.
        rank: whose lines they are, where those of several ranks are shown.
    """

    def __init__(
        self, display: Display, stop: StopRequest | None = None, *, run: str | None = None, rank: int = 0
    ) -> None:
        self._run = run
        self._rank = rank
        self.display: Display = display
        self.stop = stop or StopRequest()
        self.logs: list[LogFile] = []
        """Where all that is said is kept, once there is a run to keep it."""
        self._last = 0.0

    def stopping(self) -> bool:
        """Whether the user wants the run to stop."""
        return self.stop.requested

    def say(self, text: str) -> None:
        """One line, also in the logs."""
        for log in self.logs:
            log.say(text)
        with suppress(OSError):  # the terminal was closed: the checkpoint is to be written all the same
            if self.display == "job":
                print_line(self._rank, text)
            elif self.display != "none":
                print(text, file=sys.stderr, flush=True)

    def refuse_to_go_on(self, phase: str, done: int, total: int) -> None:
        """Raises Interrupted where a stop was requested."""
        if self.stop.requested:
            raise Interrupted(
                f"Stopped during: {phase}, {done} of {total}.",
                why="nothing of this phase is kept; what came before it is",
                fix=f"run the same command with --resume --name {self._run} to go on",
            )

    def progress(self, phase: str, done: int, total: int, note: str = "") -> None:
        """A line every ten seconds and at the end."""
        now = time.monotonic()
        if done == total or now - self._last > 10:
            self._last = now
            self.say("  ".join(part for part in (f"{phase} {done}/{total}", note) if part))
