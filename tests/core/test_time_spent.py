"""Where time went, on traces that can be added up by hand."""

from __future__ import annotations

import pytest
from profiles import span

from maporl_cli.core.time_spent import PhaseTime, RankTime, time_spent


def phase(name: str, began: float, seconds: float, rank: int = 0) -> dict:
    return span(name, "phase", rank, began, seconds)


def test_what_lies_within_a_phase_counts_once():
    events = [
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "rank 0"}},
        phase("setup", 0, 3),
        span("planner", "turns", 0, 5, 2),
        span("reporter", "turns", 0, 8, 1),
        phase("rollout", 4, 6),
        phase("scoring", 10, 1),
        phase("reward", 10, 2),
        span("the sum", "waiting", 0, 13, 2),
        span("planner", "update", 0, 12, 4),
        phase("update", 12, 5),
        phase("training", 4, 14),
        phase("run", 0, 20),
    ]
    phases = {
        "setup": PhaseTime(3.0),
        "rollout": PhaseTime(6.0, {"turns": 3.0, "between turns": 3.0}),
        "reward": PhaseTime(2.0),
        "update": PhaseTime(5.0, {"learning": 2.0, "waiting": 2.0}),
        "other": PhaseTime(4.0),  # from 3 to 4, and from 17 to 20
    }
    assert time_spent(events) == [RankTime(0, 20.0, phases)]
    assert [*phases] == [*time_spent(events)[0].phases], "in the order of their beginnings"


def test_a_phase_that_comes_again_is_added_up_and_a_baseline_is_one_phase():
    events = [
        phase("rollout", 0, 2),
        phase("rollout", 3, 4),
        span("single", "turns", 0, 8, 1),
        phase("rollout", 8, 2),
        phase("training", 8, 3),
        phase("evaluation", 11, 1),
        phase("baseline single", 7, 5),
        phase("run", 0, 12),
    ]
    (found,) = time_spent(events)
    assert found.phases == {
        "rollout": PhaseTime(6.0, {"between turns": 6.0}),
        "baseline single": PhaseTime(5.0, {"turns": 1.0, "between turns": 2.0}),
        "other": PhaseTime(1.0),
    }


def test_every_rank_has_its_own_and_those_of_others_do_not_disturb_it():
    events = [
        phase("report", 1, 3, rank=1),
        phase("run", 0, 5, rank=1),
        phase("report", 0, 4, rank=0),
        phase("run", 0, 4, rank=0),
    ]
    assert time_spent(events) == [
        RankTime(0, 4.0, {"report": PhaseTime(4.0), "other": PhaseTime(0.0)}),
        RankTime(1, 5.0, {"report": PhaseTime(3.0), "other": PhaseTime(2.0)}),
    ]


def test_spans_that_begin_and_end_together_lie_in_each_other_as_they_were_kept():
    events = [
        span("planner", "turns", 0, 2, 3),
        phase("rollout", 2, 3),
        phase("training", 2, 3),
        phase("run", 2, 3),
    ]
    (found,) = time_spent(events)
    assert found.phases == {"rollout": PhaseTime(3.0, {"turns": 3.0}), "other": PhaseTime(0.0)}


def test_a_span_that_outlasts_what_it_lies_within_makes_no_time():
    """Microseconds since the epoch are rounded, and a clock may be set."""
    events = [phase("report", 1, 3), phase("run", 0, 2), phase("before", -5, 2)]
    (found,) = time_spent(events)
    assert found.seconds == pytest.approx(2.0)
    assert found.phases == {"report": PhaseTime(1.0), "other": PhaseTime(1.0)}


def test_a_trace_of_nothing():
    assert time_spent([]) == []
