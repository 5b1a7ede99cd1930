"""Leave-one-out advantages against tables worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.training.advantage import ESTIMATORS
from maporl_cli.training.advantage.rloo import leave_one_out


def test_table_of_four_episodes_of_one_turn():
    # others of the first: (0 + 0 + 1) / 3 = 1/3, and so on
    assert leave_one_out([[1.0], [0.0], [0.0], [1.0]]) == [
        [pytest.approx(1 - 1 / 3)],
        [pytest.approx(0 - 2 / 3)],
        [pytest.approx(0 - 2 / 3)],
        [pytest.approx(1 - 1 / 3)],
    ]


def test_table_with_two_rounds_compares_turns_with_the_other_episodes_means():
    # means: 0.75, 0.2, 0.4; baselines: 0.3, 0.575, 0.475
    advantages = leave_one_out([[0.5, 1.0], [0.2], [0.3, 0.5]])
    assert advantages == [
        [pytest.approx(0.2), pytest.approx(0.7)],
        [pytest.approx(-0.375)],
        [pytest.approx(-0.175), pytest.approx(0.025)],
    ]


def test_ties_and_dead_groups_give_zero():
    assert leave_one_out([[0.4], [0.4], [0.4]]) == [[0.0], [0.0], [0.0]]
    assert leave_one_out([[1.0]]) == [[0.0]]


def test_an_episode_without_turns_is_no_baseline():
    assert leave_one_out([[1.0], [], [0.0]]) == [[1.0], [], [-1.0]]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_equals_group_mean_form(returns):
    """RLOO is n/(n-1) × (return − group mean), an identity the code does not use."""
    n, mean = len(returns), sum(returns) / len(returns)
    flat = [turns[0] for turns in leave_one_out([[value] for value in returns])]
    assert flat == pytest.approx([n / (n - 1) * (value - mean) for value in returns], abs=1e-9)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.integers(0, 8), st.floats(-5, 5))
def test_baseline_does_not_contain_its_own_sample(returns, index, other):
    """Changing an episode's return moves its own advantage by exactly that change."""
    index %= len(returns)
    changed = [*returns]
    changed[index] = other
    before = leave_one_out([[value] for value in returns])[index][0]
    after = leave_one_out([[value] for value in changed])[index][0]
    assert after - before == pytest.approx(other - returns[index], abs=1e-9)


def test_registered():
    assert ESTIMATORS["rloo"] is leave_one_out
