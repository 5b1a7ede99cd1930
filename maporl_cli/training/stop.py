"""Ctrl-C, SIGTERM and a closed terminal: remembered at once, acted on where nothing is lost."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask for a stop."""


def heeded() -> tuple[signal.Signals, ...]:
    """Those that this process heeds: under `nohup` it is to outlive its terminal, so not SIGHUP."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in STOPS if not (ignored and number == signal.SIGHUP))


class StopRequest:
    """Remembers a request to stop while it is entered; the trainer asks `requested` after each step.

    A second Ctrl-C or SIGTERM is not waited for: it raises KeyboardInterrupt where it strikes, and the
    last checkpoint is the newest one on disk. SIGHUP never hurries: the system may send it many times
    for one terminal that was closed, or one launcher that died.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        for number in heeded():
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)  # pyright: ignore[reportArgumentType]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number != signal.SIGHUP:
            raise KeyboardInterrupt
        self.requested = True
