"""The schedule played out with rates: by hand, and against what the ideal allows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.core.config import Config
from maporl_cli.core.errors import DataError
from maporl_cli.training.forecast import Cost, Rates, forecast, play_out
from maporl_cli.training.placement import place

TEAM = ("planner", "researcher", "analyst", "reporter")


def equal(*_: object) -> float:
    return 1.0


def test_one_rank_never_waits():
    assert play_out(place(TEAM, 1), 5, 2, equal, 0.5) == (40.0, {0: 40.0})


def test_the_naive_order_keeps_three_of_four_ranks_waiting():
    seconds, busy = play_out(place(TEAM, 4), 1, 1, equal, 0.0)
    assert (seconds, busy) == (4.0, dict.fromkeys(range(4), 1.0))


def test_a_wavefront_by_hand():
    """Three batches: the reporter ends the last after 3 + 3 turns."""
    assert play_out(place(TEAM, 4), 3, 1, equal, 0.0)[0] == 6.0
    assert play_out(place(TEAM, 4), 3, 1, equal, 0.25)[0] == 6.75, (
        "three letters on the way to the first report"
    )


def test_two_agents_a_rank_finish_the_oldest_batch_first():
    """Rank 0 plans and researches batch 0 before it plans batch 1, so rank 1 starts after 2 of 8 turns."""
    assert play_out(place(TEAM, 2), 4, 1, equal, 0.0)[0] == 2 + 8


def test_a_second_round_waits_for_the_first():
    assert play_out(place(TEAM, 4), 1, 2, equal, 0.0)[0] == 8.0
    assert play_out(place(TEAM, 4), 4, 2, equal, 0.0)[0] == 4 + 4 + 3


@given(
    st.integers(1, 12),
    st.integers(1, 3),
    st.sampled_from([1, 2, 4]),
    st.lists(st.floats(0.1, 5.0), min_size=4, max_size=4),
    st.floats(0, 0.5),
)
def test_no_schedule_beats_its_busiest_rank_or_its_longest_batch(batches, rounds, count, seconds, letter):
    placement = place(TEAM, count)
    spent = dict(zip(TEAM, seconds, strict=True))
    whole, busy = play_out(placement, batches, rounds, lambda _batch, _round, agent: spent[agent], letter)
    for rank in placement.ranks:
        assert busy[rank.rank] == pytest.approx(batches * rounds * sum(spent[a] for a in rank.agents))
    assert whole >= max(busy.values()) - 1e-9
    assert whole >= rounds * sum(seconds) - 1e-9
    letters = batches * rounds * 4 * letter
    assert whole <= batches * rounds * sum(seconds) + letters + 1e-9, (
        "somebody speaks, or a letter is on its way"
    )


def test_many_microbatches_keep_the_ranks_busy():
    idle = {}
    for batches in (1, 16):
        seconds, busy = play_out(place(TEAM, 4), batches, 1, equal, 0.003)
        idle[batches] = 1 - sum(busy.values()) / 4 / seconds
    assert idle[1] == pytest.approx(0.75, abs=0.01)
    assert idle[16] < 0.2


@given(st.floats(0, 5), st.floats(0, 1), st.lists(st.integers(1, 64), min_size=2, max_size=8, unique=True))
def test_a_cost_is_fitted_exactly_to_what_follows_it(call, row, rows):
    cost = Cost.fitted(rows, [call + row * count for count in rows])
    assert (cost.call, cost.row) == pytest.approx((call, row), abs=1e-4)


def test_calls_of_one_size_predict_that_size():
    assert Cost.fitted([8, 8, 8], [1.0, 2.0, 3.0]).of(8) == pytest.approx(2.0)
    assert Cost(1.0, 1.0).of(0) == 0.0, "no call is made for nobody"


def span(name: str, cat: str, pid: int, ts: float, dur: float, **args: object) -> dict:
    return {"ph": "X", "name": name, "cat": cat, "pid": pid, "ts": ts * 1e6, "dur": dur * 1e6, "args": args}


def profile() -> list[dict]:
    """Two steps of two agents on one rank: 4 episodes, of which one goes on to a second round."""
    events: list[dict] = []
    for step, start in ((1, 0.0), (2, 100.0)):
        slow = 10.0 if step == 1 else 1.0
        events.append(span("rollout", "phase", 0, start, 20 * slow, step=step))
        at = start
        for round, rows in ((0, 4), (1, 1)):
            for agent in ("planner", "reporter"):
                seconds = slow * (1.0 + 0.5 * rows)
                detail = {"batch": 0, "round": round, "rows": rows, "tokens": 3 * rows}
                events.append(span(agent, "turns", 0, at, seconds, **detail))
                at += seconds
        events.append(span("reward", "phase", 0, start + 60, 0.4 * slow, step=step))
        for agent in ("planner", "reporter"):
            events.append(span(agent, "update", 0, start + 70, 2.0 * slow, step=step, rows=4))
    events.append(span("planner", "turns", 0, 150.0, 99.0, batch=0, round=0, rows=4, tokens=1))  # evaluation
    return events


def test_rates_are_read_from_a_profile(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"traceEvents": profile()}))
    rates = Rates.measured(path)
    assert rates.active == (1.0, 0.25)
    assert rates.reward == pytest.approx(0.1)
    for agent in ("planner", "reporter"):
        assert (rates.turns[agent].call, rates.turns[agent].row) == pytest.approx((1.0, 0.5))
        assert rates.update[agent].of(4) == pytest.approx(2.0)
        assert rates.learned[agent] == pytest.approx(4 / 5)
        assert rates.tokens[agent] == pytest.approx(3.0)


def settings(**changes: object) -> Config:
    return Config.model_validate(
        {
            "team": {"agents": [{"name": "planner"}, {"name": "reporter"}], "max_rounds_per_episode": 2},
            "train": {"batch_size": 2, "per_device_train_batch_size": 2},
            "rollout": {"group_size": 2, **changes},
        }
    )


def test_a_forecast_repeats_what_was_measured(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"traceEvents": profile()}))
    rates = Rates.measured(path)
    told = forecast(settings(), place(("planner", "reporter"), 1), rates)
    assert told.rollout == pytest.approx(2 * 3.0 + 2 * 1.5)
    assert told.update == pytest.approx(2 * 2.0)
    assert told.seconds == pytest.approx(9.0 + 4.0 + 0.4)
    assert told.idle == pytest.approx(0.0)
    assert told.rank_seconds == told.seconds
    assert told.tokens_per_second == pytest.approx(5 * 2 * 3.0 / 13.4)
    two = forecast(settings(), place(("planner", "reporter"), 2), rates, letter=0.0)
    assert two.rollout == pytest.approx(9.0), "one microbatch: one speaks while the other waits"
    assert two.idle == pytest.approx(0.5)
    assert two.update == pytest.approx(2.0), "both at once"
    assert two.rank_seconds == pytest.approx(2 * two.seconds)


@pytest.mark.parametrize("text", ["", "[]", '{"traceEvents": []}', '{"traceEvents": [{"ph": "X"}]}'])
def test_what_is_no_profile_says_how_to_make_one(tmp_path, text):
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(DataError, match="no rates") as told:
        Rates.measured(path)
    assert "--profile" in told.value.fix


def test_rates_of_another_team_are_refused(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"traceEvents": profile()}))
    with pytest.raises(DataError, match="'analyst'"):
        forecast(settings(), place(("planner", "analyst"), 1), Rates.measured(path))
