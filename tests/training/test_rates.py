"""What is read from a profile: costs of calls, and what lies between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import baseline, profile, span, write_profile

from maporl_cli.core.errors import DataError
from maporl_cli.training.rates import Cost, Rates


@given(st.floats(0, 5), st.floats(0, 1), st.lists(st.integers(1, 64), min_size=2, max_size=8, unique=True))
def test_a_cost_is_fitted_exactly_to_what_follows_it(call, row, rows):
    cost = Cost.fitted(rows, [call + row * count for count in rows])
    assert (cost.call, cost.row) == pytest.approx((call, row), abs=1e-4)


def test_calls_of_one_size_predict_that_size():
    assert Cost.fitted([8, 8, 8], [1.0, 2.0, 3.0]).of(8) == pytest.approx(2.0)
    assert Cost(1.0, 1.0).of(0) == 0.0, "no call is made for nobody"


def test_rates_are_read_from_a_profile(tmp_path):
    rates = Rates.measured(write_profile(tmp_path / "profile.json"))
    assert (rates.steps, rates.sizes) == (1, (1, 4))
    assert rates.handling == pytest.approx(1.0 / 4)
    assert rates.results == pytest.approx(0.2)
    assert rates.active == (1.0, 0.25)
    assert rates.reward == pytest.approx(0.1)
    for agent in ("planner", "reporter"):
        assert (rates.turns[agent].call, rates.turns[agent].row) == pytest.approx((1.0, 0.5))
        assert rates.update[agent].of(4) == pytest.approx(2.0)
        assert rates.learned[agent] == pytest.approx(4 / 5)
        assert rates.tokens[agent] == pytest.approx(3.0)


def test_a_baseline_of_the_run_changes_nothing(tmp_path):
    team = Rates.measured(write_profile(tmp_path / "team.json"))
    events = [*profile(), *baseline(profile(("reporter",)))]
    assert Rates.measured(write_profile(tmp_path / "both.json", events)) == team


def test_the_first_step_of_a_resumed_run_warms_up_as_well(tmp_path):
    team = Rates.measured(write_profile(tmp_path / "team.json"))
    assert Rates.measured(write_profile(tmp_path / "resumed.json", profile(first=7))) == team


def test_an_agent_may_have_the_name_of_a_phase(tmp_path):
    events = profile()
    for event in events:
        if event["name"] == "reporter":
            event["name"] = "results"
    rates = Rates.measured(write_profile(tmp_path / "profile.json", events))
    assert rates.results == pytest.approx(0.2)
    assert set(rates.turns) == {"planner", "results"}


def test_of_several_ranks_only_close_turns_tell_of_handling(tmp_path):
    """Rank 1 speaks five times in ten seconds, with gaps of .1, .1, 1.0 and 2.0 between."""
    step = {"of": "team", "phase": "training", "step": 2}
    turn = step | {"phase": "rollout", "batch": 0, "round": 0, "rows": 4, "tokens": 4}
    events = [span("rollout", "phase", rank, 0, 10, **step) for rank in (0, 1)]
    events.append(span("planner", "turns", 0, 0, 5, **turn))
    for at in (0.0, 1.1, 2.2, 4.2, 7.2):
        events.append(span("reporter", "turns", 1, at, 1, **turn))
    events.append(span("rollout", "phase", 0, 0, 10, **step | {"step": 1}))
    rates = Rates.measured(write_profile(tmp_path / "profile.json", events))
    assert rates.handling == pytest.approx(0.1)


@pytest.mark.parametrize("text", ["", "[]", '{"traceEvents": []}', '{"traceEvents": [{"ph": "X"}]}'])
def test_what_is_no_profile_says_how_to_make_one(tmp_path, text):
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(DataError, match="no rates") as told:
        Rates.measured(path)
    assert "--profile" in told.value.fix


def test_the_gradient_and_the_steps_of_an_update_are_one_call(tmp_path):
    """As today's runs have them, in two spans with another agent's between."""
    parts = []
    for event in profile():
        halves = event["cat"] == "update"
        parts += [event | {"dur": event["dur"] * share} for share in ((0.75, 0.25) if halves else (1.0,))]
    found = Rates.measured(write_profile(tmp_path / "parts.json", parts))
    assert found == Rates.measured(write_profile(tmp_path / "whole.json"))


def test_a_few_updates_are_taken_as_proportional_to_their_rows(tmp_path):
    """Of two updates the smaller took longer: a fitted line would say that rows cost nothing."""
    events = profile()
    for step, rows, seconds in ((3, 2, 3.0), (4, 0, 0.1)):
        within = {"of": "team", "phase": "training", "step": step}
        events.append(span("rollout", "phase", 0, 300.0 * step, 10, **within))
        update = within | {"phase": "update", "rows": rows}
        events.append(span("planner", "update", 0, 300.0 * step + 20, seconds, **update))
    rates = Rates.measured(write_profile(tmp_path / "profile.json", events))
    assert rates.update["planner"] == Cost(0.0, pytest.approx((2.0 + 3.0) / (4 + 2)))
