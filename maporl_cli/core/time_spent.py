"""Where the time of a run went: the spans of a trace, added up by phase so that no second counts twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

OTHER = "other"
"""What a rank did in no phase that has a name."""

_AROUND = ("run", "training")
"""Phases that only hold others."""

_PARTS = {"turns": "turns", "update": "learning", "waiting": "waiting"}
"""What is told apart within a phase, by the kind of its spans."""

_BETWEEN = "between turns"
"""In a play: a rank takes note of turns or, with several, waits for a mate's. No span tells which."""

_PLAYS = ("rollout", "evaluation")

PARTS = ("turns", _BETWEEN, "learning", "waiting")
"""Parts of phases, in the order in which they are shown."""

Event = Mapping[str, Any]
"""An event of `core.timeline`: microseconds, the rank as `pid`."""


@dataclass(slots=True)
class PhaseTime:
    """Seconds of one phase on one rank, and of which parts of it; no two parts share a second."""

    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(slots=True)
class RankTime:
    """The run of one rank.

    Attributes:
        seconds: how long it lasted.
        phases: what that was spent on, in the order in which phases began, `OTHER` last; they add up to
            `seconds`. A phase within another, such as a baseline's evaluation, counts as the outer one.
    """

    rank: int
    seconds: float = 0.0
    phases: dict[str, PhaseTime] = field(default_factory=dict[str, PhaseTime])

    def to_json(self) -> dict[str, Any]:
        """As the `done` event tells it."""
        return asdict(self)


def time_spent(events: Iterable[Event]) -> list[RankTime]:
    """The time of each rank, in the order of ranks.

    Args:
        events: a trace, of any ranks; what lies outside of a rank's phase `run` counts for nothing.
    """
    by_rank: dict[int, list[Event]] = {}
    for event in events:
        if event["ph"] == "X":
            by_rank.setdefault(event["pid"], []).append(event)
    return [_of_rank(rank, spans) for rank, spans in sorted(by_rank.items())]


def _of_rank(rank: int, spans: Sequence[Event]) -> RankTime:
    found = RankTime(rank)
    for around, seconds in _stretches(spans):
        phases = [span["name"] for span in around if span["cat"] == "phase"]
        if not seconds or phases[:1] != ["run"]:
            continue
        name = next((phase for phase in phases if phase not in _AROUND), OTHER)
        phase = found.phases.setdefault(name, PhaseTime())
        phase.seconds += seconds
        found.seconds += seconds
        if part := _part(around[-1]):
            phase.parts[part] = phase.parts.get(part, 0.0) + seconds
    found.phases[OTHER] = found.phases.pop(OTHER, PhaseTime())
    return found


def _part(innermost: Event) -> str | None:
    if innermost["cat"] == "phase":
        return _BETWEEN if innermost["name"] in _PLAYS else None
    return _PARTS[innermost["cat"]]


def _stretches(spans: Sequence[Event]) -> Iterator[tuple[list[Event], float]]:
    """The time of a rank, cut wherever a span begins or ends.

    Yields:
        the spans that are going on, the outermost first, and for how many seconds.
    """
    # A span is kept when it ends: of two that began and ended together, the later one is the outer one.
    order = sorted(enumerate(spans), key=lambda at: (at[1]["ts"], -at[1]["dur"], -at[0]))
    going: list[tuple[Event, float]] = []
    now = 0.0
    for _, span in order:
        while going and going[-1][1] <= span["ts"]:
            yield [one for one, _ in going], (going[-1][1] - now) / 1e6
            now = going.pop()[1]
        if going:
            yield [one for one, _ in going], (span["ts"] - now) / 1e6
        now, end = span["ts"], span["ts"] + span["dur"]
        # Rounding, or a clock that was set, may let it outlast what it lies within.
        going.append((span, min(end, going[-1][1]) if going else end))
    while going:
        yield [one for one, _ in going], (going[-1][1] - now) / 1e6
        now = going.pop()[1]
