"""A forecast from a profile: what was measured comes out again, and more ranks as by hand."""

from __future__ import annotations

import pytest
from profiles import write_profile

from maporl_cli.core.config import Config
from maporl_cli.core.errors import DataError
from maporl_cli.training.forecast import Wires, forecast
from maporl_cli.training.placement import place
from maporl_cli.training.rates import Rates

TEAM = ("planner", "reporter")


@pytest.fixture
def rates(tmp_path) -> Rates:
    return Rates.measured(write_profile(tmp_path / "profile.json"))


def settings(**changes: object) -> Config:
    return Config.model_validate(
        {
            "team": {"agents": [{"name": "planner"}, {"name": "reporter"}], "max_rounds_per_episode": 2},
            "train": {"batch_size": 2, "per_device_train_batch_size": 2},
            "rollout": {"group_size": 2, **changes},
        }
    )


def test_it_repeats_what_was_measured(rates):
    told = forecast(settings(), place(TEAM, 1), rates)
    assert told.rollout == pytest.approx(2 * 3.0 + 2 * 1.5 + 4 * 0.25)
    assert (told.update, told.reward, told.results) == pytest.approx((2 * 2.0, 0.4, 0.8))
    assert told.summing == 0
    assert told.seconds == pytest.approx(10.0 + 4.0 + 0.4 + 0.8)
    assert told.idle == pytest.approx(0.1), "of ten seconds it takes note for one"
    assert told.tokens == pytest.approx(5 * 2 * 3.0)


def test_two_ranks_take_turns(rates):
    """One microbatch: one speaks while the other waits."""
    told = forecast(settings(), place(TEAM, 2), rates, wires=Wires(letter=0.0, exchange=0.01))
    assert told.rollout == pytest.approx(10.0)
    assert told.idle == pytest.approx(1 - 4.5 / 10)
    assert told.update == pytest.approx(2.0), "both at once"
    assert (told.reward, told.results) == pytest.approx((0.2, 0.8)), "shared, and by rank 0 alone"
    assert told.exchanges == pytest.approx(0.06)
    parts = (told.rollout, told.reward, told.update, told.results, told.exchanges)
    assert told.seconds == pytest.approx(sum(parts))


def test_a_group_is_scored_by_one_rank(rates):
    """Three groups of two on two ranks: one of them has two groups to score."""
    config = settings()
    three = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": 3})})
    assert forecast(three, place(TEAM, 2), rates).reward == pytest.approx(0.1 * 2 * 2)


def test_replicas_share_the_questions_and_sum_their_gradients(rates):
    """Two questions, a replica each: batches of two turns, of which half a turn goes on."""
    wires = Wires(letter=0.0, bandwidth=1e6)
    told = forecast(settings(), place(TEAM, 4), rates, 3_000_000, wires)
    assert told.rollout == pytest.approx(2 * (1 + 0.5 * 2) + 2 * (1 + 0.5 * 0.5) + 4 * 0.25)
    assert told.summing == pytest.approx(3.0), "half of it sent, half received summed"
    assert told.results == pytest.approx(0.8)
    assert told.tokens == pytest.approx(5 * 2 * 3.0)


def test_an_agent_that_is_not_trained_needs_no_update(rates):
    config = settings()
    seats = [seat.model_copy(update={"trained": seat.name == "planner"}) for seat in config.team.agents]
    frozen = config.model_copy(update={"team": config.team.model_copy(update={"agents": seats})})
    assert forecast(frozen, place(TEAM, 1), rates).update == pytest.approx(2.0)
    assert forecast(config, place(TEAM, 1), rates).update == pytest.approx(4.0)


def test_rates_of_another_team_are_refused(rates):
    with pytest.raises(DataError, match="'analyst'"):
        forecast(settings(), place(("planner", "analyst"), 1), rates)
