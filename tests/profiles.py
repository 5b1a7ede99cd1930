"""A profile as `maporl train --profile` writes it, with times that can be added up by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def span(name: str, cat: str, pid: int, ts: float, dur: float, **args: object) -> dict:
    return {"ph": "X", "name": name, "cat": cat, "pid": pid, "ts": ts * 1e6, "dur": dur * 1e6, "args": args}


def profile(agents: Sequence[str] = ("planner", "reporter"), *, first: int = 1) -> list[dict]:
    """Two steps of the team on one rank: 4 episodes, of which one goes on to a second round.

    A rollout of two agents lasts a second longer than its turns; the step `first` is five times as slow.
    """
    events: list[dict] = []
    for step, start in ((first, 0.0), (first + 1, 100.0)):
        slow = 5.0 if step == first else 1.0
        within = {"of": "team", "phase": "training", "step": step}
        events.append(span("rollout", "phase", 0, start, (1 + 4.5 * len(agents)) * slow, **within))
        at = start
        for round, rows in ((0, 4), (1, 1)):
            for agent in agents:
                seconds = slow * (1.0 + 0.5 * rows)
                detail = {"batch": 0, "round": round, "rows": rows, "tokens": 3 * rows}
                events.append(span(agent, "turns", 0, at, seconds, **within | {"phase": "rollout"} | detail))
                at += seconds
        events.append(span("reward", "phase", 0, start + 60, 0.9 * slow, **within))
        scoring = within | {"phase": "reward", "rows": 4}
        events.append(span("scoring", "phase", 0, start + 60, 0.4 * slow, **scoring))
        events.append(span("results", "phase", 0, start + 90, 0.8 * slow, **within))
        for agent in agents:
            update = within | {"phase": "update", "rows": 4}
            events.append(span(agent, "update", 0, start + 70, 2.0 * slow, **update))
    evaluation = {"batch": 0, "round": 0, "rows": 4, "tokens": 1}
    events.append(span(agents[0], "turns", 0, 190.0, 99.0, **evaluation))
    during = {"of": "team", "phase": "training"}  # an evaluation between steps
    events.append(span(agents[0], "turns", 0, 190.0, 99.0, **during | evaluation))
    return events


def baseline(events: Sequence[dict]) -> list[dict]:
    """The same events as those of a baseline of the run, ten times as slow."""
    return [
        event | {"dur": 10 * event["dur"], "args": event["args"] | {"of": "single"}}
        for event in events
        if "of" in event["args"]
    ]


def write_profile(path: Path, events: Sequence[dict] | None = None) -> Path:
    path.write_text(json.dumps({"traceEvents": profile() if events is None else events}))
    return path
