"""Team credit against a table worked by hand."""

import pytest
from support import question, scored, turn

from maporl_cli.core.types import Episode
from maporl_cli.training.credit import CREDIT_RULES
from maporl_cli.training.credit.team import team_credit

FOUR = [turn(agent) for agent in ("planner", "researcher", "analyst", "reporter")]


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (1.0, [0.8, 0.8, 0.8, 0.8]),
        (0.5, [0.1, 0.2, 0.4, 0.8]),
        (0.3, [0.8 * 0.027, 0.8 * 0.09, 0.8 * 0.3, 0.8]),
    ],
)
def test_the_last_turn_gets_all_and_each_turn_before_it_gamma_times_as_much(gamma, expected):
    assert team_credit(scored(FOUR, 0.8), gamma) == pytest.approx(expected)


def test_turns_are_counted_over_rounds_not_per_round():
    turns = [turn(agent, round=round) for round in range(2) for agent in ("planner", "reporter")]
    assert team_credit(scored(turns, 1.0), 0.5) == pytest.approx([0.125, 0.25, 0.5, 1.0])


def test_what_is_shared_is_the_total_with_the_format_term():
    assert team_credit(scored(FOUR, 1.2, task=1.0), 1.0) == [1.2] * 4


def test_an_unscored_episode_is_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="scored"):
        team_credit(Episode(question(), 0, 1, turns=FOUR), 1.0)


def test_registered():
    assert CREDIT_RULES["team"] is team_credit
