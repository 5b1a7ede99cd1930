"""Ctrl-C and SIGTERM: remembered at once, acted on where nothing is lost."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

_HANDLED = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers a request to stop while it is entered; the trainer asks `requested` after each step.

    A second Ctrl-C is not waited for: it raises KeyboardInterrupt where it strikes, and the last
    checkpoint is the newest one on disk.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        for number in _HANDLED:
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)  # pyright: ignore[reportArgumentType]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
