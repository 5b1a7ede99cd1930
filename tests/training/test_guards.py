"""Guards: each kind of collapse is told from noise and from a team that learns."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.errors import RunFailed
from maporl_cli.training.checkpoint import Checkpoints
from maporl_cli.training.guards import Guards, reach
from maporl_cli.training.guards.past import Past, moved, trends

WINDOW = 5
HEALTHY = {
    "train:accuracy": 0.6,
    "train:reward": 0.6,
    "train:dead_groups": 0.3,
    "train:agreement": 0.98,
    "train:format": 0.9,
    "planner:entropy": 0.4,
    "planner:length": 5.0,
    "planner:format": 0.95,
    "planner:format:key": 0.95,
    "planner:novel": 0.25,
    "planner:repeats": 0.02,
    "planner:foreign": 0.0,
}
NOISE = 0.02


def steps(count, start=1, seed=0, **changes):
    """Steps of noise around a healthy run, or around what `changes` says at each of them."""
    draw = np.random.default_rng((seed, start))
    changes = {name.replace("__", ":"): value for name, value in changes.items()}
    for place in range(count):
        row: dict[str, float] = {"step": start + place}
        for name, usual in HEALTHY.items():
            value = changes.get(name, usual)
            value = value(place) if callable(value) else value
            row[name] = value if value in (0.0, None) else value + float(draw.normal()) * NOISE * value
        yield row


class Watched:
    """Guards, and what they said."""

    def __init__(self, folder, action="warn", history=(), *, across_groups=False):
        config = TrainConfig.model_validate({"guards": action, "guard_window": WINDOW})
        self.said: list[str] = []
        self.guards = Guards(
            config,
            ("planner", "reporter"),
            across_groups,
            history,
            Checkpoints(folder, keep=1),
            self.said.append,
        )

    def see(self, rows):
        """The step at which each guard first fired."""
        fired = {}
        for row in rows:
            metrics = {name: value for name, value in row.items() if name != "step"}
            for alarm in self.guards.watch(row["step"], metrics):
                fired.setdefault(alarm.guard, row["step"])
        return fired


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_collapse(tmp_path, seed):
    assert Watched(tmp_path).see(steps(200, seed=seed)) == {}


LOWER = {"train__accuracy": 0.5}
COLLAPSES = [
    ("entropy", {"planner__entropy": 0.01}),
    ("entropy", {"planner__entropy": 2.0}),
    ("length", {"planner__length": 1.0}),
    ("length", {"planner__length": 12.0}),
    ("format", {"planner__format": 0.5}),
    ("format", {"planner__format__key": 0.5}),
    ("language", {"planner__novel": 0.6}),
    ("language", {"planner__repeats": 0.5}),
    ("language", {"planner__foreign": 0.3}),
    ("agreement", {"train__agreement": 0.6, "train__reward": 0.8}),
]


@pytest.mark.parametrize(("guard", "change"), COLLAPSES)
def test_what_moves_as_accuracy_falls_is_told_within_a_window(watched, guard, change):
    fired = watched.see([*steps(40), *steps(12, 41, **LOWER, **change)])
    assert min(fired, key=lambda name: fired[name]) == guard
    assert 42 < fired[guard] <= 40 + WINDOW
    said, *_ = watched.said
    assert said.startswith(f"Guard {guard} fired at step {fired[guard]}: ")
    assert "\nFix: " in said
    if guard != "agreement":
        ((name, _),) = [item for item in change.items() if item[0] not in LOWER]
        assert name.replace("__", ":") in said


@pytest.mark.parametrize(("guard", "change"), COLLAPSES)
def test_the_same_change_is_welcome_where_accuracy_rises_with_it(watched, guard, change):
    assert watched.see([*steps(40), *steps(12, 41, train__accuracy=0.75, **change)]) == {}


@pytest.mark.parametrize(("guard", "change"), COLLAPSES)
def test_one_odd_step_is_no_collapse(watched, guard, change):
    assert watched.see([*steps(40), *steps(1, 41, **LOWER, **change), *steps(20, 42)]) == {}


def test_low_entropy_at_the_end_of_a_success_is_no_collapse(watched):
    solved = {"train__accuracy": 0.97, "train__dead_groups": 0.95}
    assert (
        watched.see(
            [
                *steps(40, **solved),
                *steps(20, 41, **solved | {"train__accuracy": 0.95}, planner__entropy=0.01),
            ]
        )
        == {}
    )


def test_dead_groups_are_told_where_nothing_is_solved(watched):
    fired = watched.see([*steps(30), *steps(30, 31, train__dead_groups=0.98)])
    assert set(fired) == {"dead_groups"}
    assert fired["dead_groups"] > 30 + 3 * WINDOW, "over four windows"


def test_dead_groups_are_no_alarm_where_they_teach(tmp_path):
    watched = Watched(tmp_path, across_groups=True)
    assert watched.see([*steps(30), *steps(30, 31, train__dead_groups=0.98)]) == {}
    assert set(watched.see(steps(12, 61, **LOWER, planner__format=0.5))) == {"format"}


def test_a_reward_that_rises_while_accuracy_falls(watched):
    drift = {"train__reward": lambda n: 0.6 + 0.01 * n, "train__accuracy": lambda n: 0.6 - 0.01 * n}
    fired = watched.see([*steps(20), *steps(20, 21, **drift)])
    assert set(fired) == {"divergence"}
    assert fired["divergence"] <= 35


@pytest.mark.parametrize("name", ["train__reward", "train__accuracy"])
@pytest.mark.parametrize("slope", [-0.01, 0.01])
def test_one_of_them_alone_is_no_divergence(watched, name, slope):
    assert watched.see([*steps(20), *steps(20, 21, **{name: lambda n: 0.6 + slope * n})]) == {}


def test_too_young_a_run_is_not_judged(watched):
    assert watched.see([*steps(WINDOW), *steps(WINDOW, WINDOW + 1, **LOWER, planner__format=0.1)]) == {}


def test_a_metric_that_is_missing_now_and_then_is_judged_by_the_rest(watched):
    gaps = {"planner__entropy": lambda n: None if n % 2 else 0.01}
    collapsed = [{k: v for k, v in row.items() if v is not None} for row in steps(12, 41, **LOWER, **gaps)]
    assert set(watched.see([*steps(40), *collapsed])) == {"entropy"}
    gone = [{k: v for k, v in row.items() if k != "planner:entropy"} for row in steps(12, 60, **LOWER)]
    assert watched.see(gone) == {}


def test_a_guard_is_told_once_and_marked_every_time(watched):
    rows = [*steps(40), *steps(8, 41, **LOWER, planner__format=0.5)]
    alarms = [watched.guards.watch(row["step"], row) for row in rows]
    marked = [place for place, found in enumerate(alarms, 1) if found]
    assert len(marked) > 2
    assert marked == list(range(marked[0], 49))
    assert {alarm.metric for found in alarms for alarm in found} == {"guard:format"}
    assert len(watched.said) == 1


@pytest.mark.parametrize("at", [0, 20, 41, 43, 46])
def test_a_resumed_run_sees_what_the_whole_one_saw(tmp_path, at):
    """Its history is what `metrics.jsonl` holds, marks and the evaluation before training included."""
    rows = [*steps(40), *steps(8, 41, **LOWER, planner__format=0.5)]
    whole = Watched(tmp_path)
    alarms = [whole.guards.watch(row["step"], row) for row in rows]
    marks = [{alarm.metric: 1.0 for alarm in found} for found in alarms]
    written = [row | mark for row, mark in zip(rows, marks, strict=True)][:at]
    again = Watched(tmp_path, history=json.loads(json.dumps([{"step": 0, "eval:accuracy": 0.1}, *written])))
    assert [again.guards.watch(row["step"], row) for row in rows[at:]] == alarms[at:]
    assert len(again.said) == (0 if at == 46 else 1)


def test_off_says_and_marks_nothing(tmp_path):
    off = Watched(tmp_path, "off")
    assert off.see([*steps(40), *steps(12, 41, **LOWER, planner__format=0.5)]) == {}
    assert off.said == []


def test_stop_raises_and_names_guard_step_and_the_last_good_checkpoint(tmp_path):
    stopping = Watched(tmp_path, "stop")
    rows = [*steps(40), *steps(12, 41, **LOWER, planner__format=0.5)]
    for row in rows:
        alarms = stopping.guards.watch(row["step"], row)
        if alarms:
            break
        stopping.guards.heed(row["step"], alarms)
    with pytest.raises(RunFailed) as told:
        stopping.guards.heed(row["step"], alarms)
    assert told.value.exit_code == 1
    assert "format" in told.value.what
    assert told.value.where == f"step {row['step']}; last good checkpoint: none"
    assert "planner:format went from 0.9" in told.value.why
    assert "reward.format_weight" in told.value.fix
    assert stopping.said == [], "the error says it"


def test_the_others_are_told_by_rank_0_and_stop_as_well(tmp_path):
    rows = [*steps(40), *steps(WINDOW, 41, **LOWER, planner__format=0.5)]
    first = Watched(tmp_path, "stop")
    alarms = [first.guards.watch(row["step"], row) for row in rows][-1]
    with pytest.raises(RunFailed, match="format"):
        Watched(tmp_path, "stop").guards.heed(45, alarms)


def test_warn_never_stops(watched):
    rows = [*steps(40), *steps(WINDOW, 41, **LOWER, planner__format=0.5)]
    alarms = [watched.guards.watch(row["step"], row) for row in rows][-1]
    assert alarms
    watched.guards.heed(45, alarms)


def test_best_are_the_steps_of_best_accuracy_before_now():
    accuracy = [0.1] * 5 + [0.8] * 10 + [0.5] * 3 + [0.8] * 10 + [0.2] * 4 + [0.99] * WINDOW
    rows = [{"step": place, "train:accuracy": value} for place, value in enumerate(accuracy, 1)]
    past = Past(rows, WINDOW, ())
    assert [row["step"] for row in past.best] == list(range(19, 29)), "of two equals the later one"
    assert [row["step"] for row in past.now] == list(range(33, 38))
    assert len(past.lately) == reach(WINDOW) == 20


def unknown(row, *names):
    return {name: value for name, value in row.items() if name not in names}


def test_best_is_of_the_steps_in_which_accuracy_was_measured():
    """.9 in the even ones of the steps 21 to 30, .3 in the even ones elsewhere; the odd ones say nothing."""
    rows = [
        {"step": step} | ({} if step % 2 else {"train:accuracy": 0.9 if 21 <= step <= 30 else 0.3})
        for step in range(1, 41)
    ]
    assert [row["step"] for row in Past(rows, WINDOW, ()).best] == list(range(22, 32)), "of equals the last"


def test_where_accuracy_was_hardly_ever_measured_nothing_was_best():
    rows = [{"step": step} for step in range(1, 16)] + [{"step": 16, "train:accuracy": 0.5}]
    assert Past(rows, WINDOW, ()).best == ()
    assert Past([*rows, *rows], WINDOW, ()).best == ()


def test_a_run_whose_first_steps_hold_no_gold_answer_is_watched(watched):
    """As with a verifier and few labels."""
    young = [unknown(row, "train:accuracy", "train:agreement") for row in steps(4 * WINDOW)]
    assert watched.see([*young, *steps(20, 21)]) == {}
    assert "format" in watched.see(steps(12, 41, **LOWER, planner__format=0.5))


def test_a_resumed_run_remembers_the_steps_without_accuracy(tmp_path):
    rows = [unknown(row, *(["train:accuracy"] if row["step"] % 3 == 0 else [])) for row in steps(40)]
    rows += steps(8, 41, **LOWER, planner__format=0.5)
    whole = Watched(tmp_path)
    alarms = [whole.guards.watch(row["step"], row) for row in rows]
    assert any(alarms)
    again = Watched(tmp_path, history=rows[:42])
    assert [again.guards.watch(row["step"], row) for row in rows[42:]] == alarms[42:]


def test_moved_by_hand():
    """Five values above ten: 1 of the 3,003 ways to choose their ranks is as extreme."""
    before = [{"x": value} for value in range(10)]
    above = [{"x": value} for value in range(20, 25)]
    assert moved(before, above, "x", "greater")
    assert not moved(before, above, "x", "less")
    assert moved(before, [*above[:4], {"x": 7.5}], "x", "greater"), "4 of 3,003"
    assert not moved(before, [*above[:4], {"x": 2.5}], "x", "greater"), "42 of 3,003"


def test_trends_by_hand():
    rising = [{"x": float(place)} for place in range(6)]
    assert trends(rising, "x", "greater"), "1 of 720 orders"
    assert not trends(rising[:5], "x", "greater"), "1 of 120"
    assert not trends(rising, "x", "less")
    assert not trends([{"x": 1.0}] * 9, "x", "greater")
