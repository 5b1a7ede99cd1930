"""What a rank did when: how long it spoke and how long it waited, and a trace to look at.

Times are in seconds of `time.monotonic`; traces are in the Trace Event Format that Chrome's
`about:tracing` and https://ui.perfetto.dev open.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted from `began` to `ended`, seconds since the epoch."""

    name: str
    kind: str
    began: float
    ended: float
    details: dict[str, Any]


class Timeline:
    """Adds up the time that a rank's agents speak, and keeps every span where a trace is wanted.

    Args:
        keep: keep the spans for `trace`; without it only the sum of speaking is kept.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._spans: list[Span] = []
        self._around: dict[str, Any] = {}
        self.speaking = 0.0
        """Seconds that agents of this rank have spoken so far."""

    @contextmanager
    def turns(self, agent: str, **details: Any) -> Generator[dict[str, Any]]:
        """An agent speaks; what is put into the mapping that this gives is kept with the span."""
        began = time.monotonic()
        with self._span(agent, "turns", details):
            yield details
        self.speaking += time.monotonic() - began

    @contextmanager
    def update(self, agent: str, **details: Any) -> Generator[None]:
        """An agent learns."""
        with self._span(agent, "update", details):
            yield

    @contextmanager
    def waiting(self, what: str) -> Generator[None]:
        """This rank waits for others, or exchanges `what` with them."""
        with self._span(what, "waiting", {}):
            yield

    @contextmanager
    def phase(self, name: str, **details: Any) -> Generator[None]:
        """A phase of a run or of a step: setup, training, rollout, reward, update, …

        What happens within it has its details as well, and its name as `phase`.
        """
        outer = self._around
        with self._span(name, "phase", details):
            self._around = outer | details | {"phase": name}
            try:
                yield
            finally:
                self._around = outer

    @contextmanager
    def _span(self, name: str, kind: str, details: dict[str, Any]) -> Generator[None]:
        began, around = time.time(), self._around
        yield
        if self._keep:
            self._spans.append(Span(name, kind, began, time.time(), around | details))

    def trace(self, rank: int, title: str) -> list[dict[str, Any]]:
        """The kept spans as complete events, phases above agents; microseconds since the epoch.

        Args:
            rank: becomes the process of the events.
            title: the name the viewer shows for it.
        """
        rows = {"phase": 0, "turns": 1, "update": 1, "waiting": 1}
        named = [
            {"ph": "M", "name": "process_name", "pid": rank, "args": {"name": title}},
            *(
                {"ph": "M", "name": "thread_name", "pid": rank, "tid": row, "args": {"name": kind}}
                for row, kind in ((0, "phases"), (1, "agents"))
            ),
        ]
        return named + [
            {
                "ph": "X",
                "name": span.name,
                "cat": span.kind,
                "pid": rank,
                "tid": rows[span.kind],
                "ts": span.began * 1e6,
                "dur": (span.ended - span.began) * 1e6,
                "args": span.details,
            }
            for span in self._spans
        ]
