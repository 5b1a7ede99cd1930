"""Advantages against tables worked by hand."""

import math
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.training.advantage import estimator, estimators, register_estimator
from maporl_cli.training.advantage.estimator import within_groups
from maporl_cli.training.advantage.grpo import centered, group_relative
from maporl_cli.training.advantage.reinforce_pp import normalized, normalized_over_groups
from maporl_cli.training.advantage.rloo import leave_one_out

RETURNS = st.lists(st.floats(-5, 5), min_size=2, max_size=9)
# Three episodes of an agent: two rounds, one round, two rounds. Their means: .75, .2, .4; of these .45.
ROUNDS = [[0.5, 1.0], [0.2], [0.3, 0.5]]
WITHIN = (leave_one_out, centered, group_relative)


def alone(values):
    """A sum over one replica."""
    return list(values)


def near(table):
    return [[pytest.approx(value, abs=1e-7) for value in row] for row in table]


class TestLeaveOneOut:
    def test_table_of_four_episodes_of_one_turn(self):
        # others of the first: (0 + 0 + 1) / 3 = 1/3, and so on
        assert leave_one_out([[1.0], [0.0], [0.0], [1.0]]) == near([[2 / 3], [-2 / 3], [-2 / 3], [2 / 3]])

    def test_table_with_two_rounds_compares_turns_with_the_other_episodes_means(self):
        # baselines: .3, .575, .475
        assert leave_one_out(ROUNDS) == near([[0.2, 0.7], [-0.375], [-0.175, 0.025]])

    @given(RETURNS)
    def test_equals_group_mean_form(self, returns):
        """RLOO is n/(n-1) × (return − group mean), an identity the code does not use."""
        n, mean = len(returns), sum(returns) / len(returns)
        flat = [turns[0] for turns in leave_one_out([[value] for value in returns])]
        assert flat == pytest.approx([n / (n - 1) * (value - mean) for value in returns], abs=1e-9)

    @given(RETURNS, st.integers(0, 8), st.floats(-5, 5))
    def test_baseline_does_not_contain_its_own_sample(self, returns, index, other):
        """Changing an episode's return moves its own advantage by exactly that change."""
        index %= len(returns)
        changed = [*returns]
        changed[index] = other
        before = leave_one_out([[value] for value in returns])[index][0]
        after = leave_one_out([[value] for value in changed])[index][0]
        assert after - before == pytest.approx(other - returns[index], abs=1e-9)


class TestGroupRelative:
    def test_table_of_four_episodes_of_one_turn(self):
        # mean ½; squares 4 · ¼ = 1, over n − 1 = 3: spread √⅓
        value = 0.5 / (math.sqrt(1 / 3) + 1e-4)
        assert group_relative([[1.0], [0.0], [0.0], [1.0]]) == near([[value], [-value], [-value], [value]])

    def test_table_with_two_rounds(self):
        # means .75, .2, .4 around .45: squares .09 + .0625 + .0025 = .155, over 2: spread √.0775
        spread = math.sqrt(0.0775) + 1e-4
        assert centered(ROUNDS) == near([[0.05, 0.55], [-0.25], [-0.15, 0.05]])
        assert group_relative(ROUNDS) == near(
            [[0.05 / spread, 0.55 / spread], [-0.25 / spread], [-0.15 / spread, 0.05 / spread]]
        )

    def test_two_episodes_have_a_spread(self):
        # mean ½, squares ½, over 1: spread √½
        value = 0.5 / (math.sqrt(0.5) + 1e-4)
        assert group_relative([[1.0], [0.0]]) == near([[value], [-value]])

    @given(RETURNS)
    def test_undivided_it_is_the_leave_one_out_times_n_minus_1_over_n(self, returns):
        n, group = len(returns), [[value] for value in returns]
        other = [[turns[0] * (n - 1) / n] for turns in leave_one_out(group)]
        assert centered(group) == near(other)

    @given(st.lists(st.floats(-1, 1), min_size=2, max_size=9), st.floats(0.5, 4), st.floats(-3, 3))
    def test_neither_scale_nor_offset_matters_where_the_spread_is_wide(self, returns, scale, offset):
        group = [[1.0], [-1.0], *([value] for value in returns)]
        moved = [[value * scale + offset] for (value,) in group]
        for (one,), (other,) in zip(group_relative(group), group_relative(moved), strict=True):
            assert one == pytest.approx(other, abs=2e-3)  # the 1e-4 beside a spread of at least .3


@pytest.mark.parametrize("estimator", WITHIN)
def test_ties_and_dead_groups_give_zero(estimator):
    assert estimator([[0.5], [0.5], [0.5]]) == [[0.0], [0.0], [0.0]]
    assert estimator([[1.0]]) == [[0.0]]
    assert estimator([[], [1.0, 0.0]]) == [[], [0.0, 0.0]]
    assert estimator([[], []]) == [[], []]


def test_an_episode_without_turns_is_no_baseline():
    assert leave_one_out([[1.0], [], [0.0]]) == [[1.0], [], [-1.0]]
    assert centered([[1.0], [], [0.0]]) == [[0.5], [], [-0.5]]


class TestOverTheBatch:
    def test_table_of_two_groups(self):
        # 1, 0, 1 | 2 (two rounds: 1.5 and 2.5): mean 6/5, squares .04 + 1.44 + .04 + .09 + 1.69 = 3.3, over 5
        groups = [[[1.0], [0.0], [1.0]], [[1.5, 2.5]]]
        spread = math.sqrt(0.66)
        assert normalized(groups, alone)[0] == near([[-0.2 / spread], [-1.2 / spread], [-0.2 / spread]])
        assert normalized(groups, alone)[1] == near([[0.3 / spread, 1.3 / spread]])

    def test_table_with_a_baseline(self):
        # less each group's mean: ½, −½ | 1, −1; mean 0, squares 2.5, over 4
        groups = [[[1.0], [0.0]], [[3.0], [1.0]]]
        spread = math.sqrt(2.5 / 4)
        assert normalized_over_groups(groups, alone)[0] == near([[0.5 / spread], [-0.5 / spread]])
        assert normalized_over_groups(groups, alone)[1] == near([[1 / spread], [-1 / spread]])

    @given(st.lists(RETURNS, min_size=1, max_size=4))
    def test_mean_zero_and_spread_one(self, rewards):
        groups = [[[value] for value in group] for group in rewards]
        values = [turns[0] for group in normalized(groups, alone) for turns in group]
        given_values = [value for group in rewards for value in group]
        assert fmean(values) == pytest.approx(0, abs=1e-6)
        if pstdev(given_values) > 1e-3:
            assert pstdev(values) == pytest.approx(1, abs=1e-4)

    @given(st.lists(RETURNS, min_size=2, max_size=5), st.integers(1, 4))
    def test_replicas_share_mean_and_spread(self, rewards, cut):
        """Two replicas with some of the groups each get what one with all of them does."""
        groups = [[[value] for value in group] for group in rewards]
        cut = min(cut, len(groups) - 1)
        whole = normalized(groups, alone)
        asked: list[list[float]] = []
        for share in (groups[:cut], groups[cut:]):
            rounds: list[list[float]] = []
            normalized(share, lambda values, rounds=rounds: rounds.append(list(values)) or alone(values))
            asked.append(rounds[0])
        total, count = (sum(part) for part in zip(*asked, strict=True))
        squares = sum((v - total / count) ** 2 for group in rewards for v in group)
        for share, expected in ((groups[:cut], whole[:cut]), (groups[cut:], whole[cut:])):
            told = iter([[total, count], [squares, 0.0]])
            assert normalized(share, lambda values, told=told: next(told)) == [near(one) for one in expected]

    def test_a_spread_near_nothing_does_not_blow_up(self):
        # mean 1e-8, squares 2e-16, over 2: spread 1e-8, and as much beside it
        assert normalized([[[2e-8], [0.0]]], alone) == [near([[0.5], [-0.5]])]

    def test_a_replica_without_groups_takes_part_in_both_sums(self):
        asked: list[int] = []
        assert normalized([], lambda values: asked.append(len(values)) or [0.0] * len(values)) == []
        assert asked == [2, 2]


def test_an_estimator_of_one_s_own(monkeypatch):
    """Registered after the package was imported, as a plug-in is."""
    monkeypatch.setattr(estimator, "_ESTIMATORS", {})
    mine = within_groups(centered)
    register_estimator("mine", mine)
    assert dict(estimators()) == {"mine": mine}
    assert mine.advantages([ROUNDS, [[1.0], [0.0]]], alone) == [centered(ROUNDS), [[0.5], [-0.5]]]


def test_registered():
    built_in = ["rloo", "grpo", "dr_grpo", "reinforce_pp", "reinforce_pp_baseline"]
    assert list(estimators())[: len(built_in)] == built_in  # an example may have been loaded before
    group = [[1.0], [0.0], [0.2]]
    for name, function in (("rloo", leave_one_out), ("grpo", group_relative), ("dr_grpo", centered)):
        assert estimators()[name].advantages([group], alone) == [function(group)]
        assert not estimators()[name].across_groups
    assert estimators()["reinforce_pp"].across_groups
