"""A profile as `maporl train --profile` writes it, with times that can be added up by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def span(name: str, cat: str, pid: int, ts: float, dur: float, **args: object) -> dict:
    return {"ph": "X", "name": name, "cat": cat, "pid": pid, "ts": ts * 1e6, "dur": dur * 1e6, "args": args}


def profile(agents: Sequence[str] = ("planner", "reporter")) -> list[dict]:
    """Two steps on one rank: 4 episodes, of which one goes on to a second round.

    A rollout of two agents lasts a second longer than its turns; the first step is five times as slow.
    """
    events: list[dict] = []
    for step, start in ((1, 0.0), (2, 100.0)):
        slow = 5.0 if step == 1 else 1.0
        events.append(span("rollout", "phase", 0, start, (1 + 4.5 * len(agents)) * slow, step=step))
        at = start
        for round, rows in ((0, 4), (1, 1)):
            for agent in agents:
                seconds = slow * (1.0 + 0.5 * rows)
                detail = {"batch": 0, "round": round, "rows": rows, "tokens": 3 * rows}
                events.append(span(agent, "turns", 0, at, seconds, **detail))
                at += seconds
        events.append(span("reward", "phase", 0, start + 60, 0.4 * slow, step=step))
        events.append(span("results", "phase", 0, start + 90, 0.8 * slow, step=step))
        for agent in agents:
            events.append(span(agent, "update", 0, start + 70, 2.0 * slow, step=step, rows=4))
    events.append(span(agents[0], "turns", 0, 190.0, 99.0, batch=0, round=0, rows=4, tokens=1))  # evaluation
    return events


def write_profile(path: Path, events: Sequence[dict] | None = None) -> Path:
    path.write_text(json.dumps({"traceEvents": profile() if events is None else events}))
    return path
