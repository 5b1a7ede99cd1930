"""Metrics go to every sink that still works; none of them can stop a training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from maporl_cli.core.types import Episode
from maporl_cli.monitoring.episodes import EpisodeFiles
from maporl_cli.monitoring.jsonl import JsonlSink


class Sink(Protocol):
    """A place that metrics go to: a file, a terminal, a service."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics measured at `step`; a step may come in more than one part."""
        ...

    def close(self) -> None:
        """Finish what is unfinished; nothing is logged afterwards."""
        ...


class Monitor:
    """Fans a step out to its sinks.

    A sink that raises is reported once on stderr and dropped: a dead network must not cost a
    day of training. Metrics on disk and episodes are the run's record and no such sinks: a failure
    to write them is the run's failure.

    Args:
        sinks: where metrics go that may fail.
        metrics: the run's own record of them; None keeps none.
        episodes: where a step's episodes go; None keeps none.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        metrics: JsonlSink | None = None,
        episodes: EpisodeFiles | None = None,
    ) -> None:
        self._sinks = list(sinks)
        self._metrics = metrics
        self._episodes = episodes

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of `step`, and give them to every sink.

        Raises:
            RunFailed: they cannot be recorded.
        """
        if self._metrics is not None:
            self._metrics.log(step, metrics)
        self._each(lambda sink: sink.log(step, metrics))

    def episodes(self, step: int, episodes: Sequence[Episode]) -> None:
        """Keep the episodes of `step`.

        Raises:
            RunFailed: they cannot be written.
        """
        if self._episodes is not None:
            self._episodes.write(step, episodes)

    def close(self) -> None:
        """Close every sink, whatever the others do."""
        self._each(lambda sink: sink.close())
        self._sinks.clear()

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in tuple(self._sinks):
            try:
                call(sink)
            except Exception as error:  # noqa: BLE001  # any sink, any reason: reported, then done without
                self._sinks.remove(sink)
                print(
                    f"{type(sink).__name__} failed and gets no more metrics; the run goes on. "
                    f"Why: {type(error).__name__}: {error}",
                    file=sys.stderr,
                )
