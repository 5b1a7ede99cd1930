"""What a rank did when, by a clock that the tests turn."""

from __future__ import annotations

import pytest

from maporl_cli.core import timeline as module
from maporl_cli.core.timeline import Timeline


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_speaking_is_added_up_and_phases_are_not(clock):
    timeline = Timeline()
    with timeline.phase("rollout"):
        for seconds in (2, 3):
            with timeline.turns("planner"):
                clock.now += seconds
        clock.now += 4
    assert timeline.speaking == 5
    assert [event["ph"] for event in timeline.trace(3, "rank 3")] == ["M", "M", "M"], "nothing was kept"


def test_a_trace_has_turns_below_their_phase_in_microseconds(clock):
    timeline = Timeline(keep=True)
    with timeline.phase("rollout", step=7):
        clock.now += 1
        with timeline.turns("planner", batch=2, round=0):
            clock.now += 2
        clock.now += 4
    events = timeline.trace(3, "rank 3: planner")
    named = [event["args"]["name"] for event in events if event["ph"] == "M"]
    assert named == ["rank 3: planner", "phases", "agents"]
    turns, phase = [event for event in events if event["ph"] == "X"]
    shared = {"ph": "X", "pid": 3}
    assert turns == shared | {
        "name": "planner",
        "cat": "turns",
        "tid": 1,
        "ts": 101e6,
        "dur": 2e6,
        "args": {"phase": "rollout", "step": 7, "batch": 2, "round": 0},
    }
    assert phase == shared | {
        "name": "rollout",
        "cat": "phase",
        "tid": 0,
        "ts": 100e6,
        "dur": 7e6,
        "args": {"step": 7},
    }


def test_what_happens_within_phases_has_their_details(clock):
    timeline = Timeline(keep=True)
    with timeline.phase("training", of="single"):
        with pytest.raises(KeyError), timeline.phase("rollout", step=1):
            raise KeyError
        with timeline.phase("rollout", step=2), timeline.turns("planner", rows=4) as told:
            told["tokens"] = 9
    with timeline.update("planner", rows=3):
        pass
    turns, rollout, training, update = [
        (event["name"], event["args"]) for event in timeline.trace(0, "") if event["ph"] == "X"
    ]
    assert turns == ("planner", {"of": "single", "phase": "rollout", "step": 2, "rows": 4, "tokens": 9})
    assert rollout == ("rollout", {"of": "single", "phase": "training", "step": 2})
    assert training == ("training", {"of": "single"})
    assert update == ("planner", {"rows": 3})


def test_what_fails_is_no_span(clock):
    timeline = Timeline(keep=True)
    with pytest.raises(KeyError), timeline.turns("planner"):
        raise KeyError
    assert timeline.speaking == 0
    assert len(timeline.trace(0, "")) == 3


def test_waiting_lies_below_what_waits(clock):
    timeline = Timeline(keep=True)
    with timeline.update("planner", rows=3), timeline.waiting("the sum"):
        clock.now += 2
    waiting, update = [event for event in timeline.trace(0, "") if event["ph"] == "X"]
    assert (waiting["name"], waiting["cat"], waiting["dur"]) == ("the sum", "waiting", 2e6)
    assert waiting["tid"] == update["tid"]
