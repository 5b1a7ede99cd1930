"""PPO's advantages: tables worked by hand, and the gradient that they give in expectation."""

from __future__ import annotations

import itertools
import math
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import Pupil, alone, scored, turn, updated

from maporl_cli.agents.policy import Scored
from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Group, Turn
from maporl_cli.training.advantage import CriticEstimator, Valued, estimators
from maporl_cli.training.advantage.maporl_ppo import generalized, judge
from maporl_cli.training.credit.team import team_credit
from maporl_cli.training.critic import Critic
from maporl_cli.training.experience import Experience, gather
from maporl_cli.training.update import Learner

NUMBERS = st.floats(-3, 3)
TURNS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=7)


def train(gae_lambda=0.95, **settings) -> TrainConfig:
    return TrainConfig.model_validate({"ppo": {"gae_lambda": gae_lambda}, **settings})


class TestGeneralized:
    """Rewards 0, 0, 1 and values .5, .25, .75: δ = −.25, .5, .25."""

    @pytest.mark.parametrize(
        ("gae_lambda", "expected"),
        [
            (0.0, [-0.25, 0.5, 0.25]),
            (0.5, [-0.25 + 0.25 + 0.0625, 0.5 + 0.125, 0.25]),
            (1.0, [0.5, 0.75, 0.25]),
        ],
    )
    def test_three_tokens(self, gae_lambda, expected):
        assert generalized([0.0, 0.0, 1.0], [0.5, 0.25, 0.75], gae_lambda) == pytest.approx(expected)

    def test_tokens_that_pay_their_distance(self):
        # δ = −.1 + .25 − .5, .2 + .75 − .25, .9 − .75 = −.35, .7, .15
        found = generalized([-0.1, 0.2, 0.9], [0.5, 0.25, 0.75], 0.5)
        assert found == pytest.approx([-0.35 + 0.35 + 0.0375, 0.7 + 0.075, 0.15])

    def test_of_one_token_nothing_is_expected_afterwards(self):
        assert generalized([1.0], [0.25], 0.95) == [0.75]

    @given(TURNS)
    def test_looking_to_the_end_is_the_return_less_the_value(self, turn):
        rewards, values = zip(*turn, strict=True)
        expected = [math.fsum(rewards[place:]) - value for place, value in enumerate(values)]
        assert generalized(rewards, values, 1.0) == pytest.approx(expected, abs=1e-9)

    @given(TURNS, st.floats(0, 1))
    def test_equals_the_sum_of_the_paper(self, turn, gae_lambda):
        rewards, values = zip(*turn, strict=True)
        after = [*values[1:], 0.0]
        deltas = [r + v2 - v for r, v, v2 in zip(rewards, values, after, strict=True)]
        expected = [
            math.fsum(gae_lambda**ahead * delta for ahead, delta in enumerate(deltas[place:]))
            for place in range(len(deltas))
        ]
        assert generalized(rewards, values, gae_lambda) == pytest.approx(expected, abs=1e-9)

    def test_a_target_is_what_was_expected_and_the_advantage(self):
        # the second table
        told = judge(Valued([0.0, 0.0, 1.0], [0.5, 0.25, 0.75]), train(0.5))
        assert told.advantages == pytest.approx([0.0625, 0.625, 0.25])
        assert told.targets == pytest.approx([0.5625, 0.875, 1.0])


def episodes(*totals, tokens=2, finished=True):
    return [scored([turn("solo", tokens=tokens, finished=finished)], total) for total in totals]


class TestGather:
    """`Pupil` expects 2, 1 of two tokens, and 1 of one."""

    def experiences(self, groups, **settings):
        config = train(1.0, **settings)
        compared = [Group(group) for group in groups]
        gathered = gather(compared, [Pupil("solo")], team_credit, estimators()["maporl_ppo"], config)
        return gathered, gathered.by_agent["solo"]

    def test_what_is_expected_is_taken_off_and_the_target_is_the_return(self):
        gathered, (first, second) = self.experiences([[*episodes(1.0), *episodes(0.5, tokens=1)]])
        assert (list(first.advantages), list(second.advantages)) == ([1 - 2, 1 - 1], [0.5 - 1])
        assert (list(first.values), list(first.targets)) == ([2.0, 1.0], [1.0, 1.0])
        assert (list(second.values), list(second.targets)) == ([1.0], [0.5])
        assert (gathered.dead_groups, gathered.cut_turns) == (0, 0)

    def test_each_token_pays_its_own_distance(self):
        """A nat a token, at .25: rewards −.25, .75 and .25; what the paper calls KL in the reward."""
        groups = [[*episodes(1.0), *episodes(0.5, tokens=1)]]
        _, (first, second) = self.experiences(groups, kl_coeff=0.25, kl_in="reward")
        assert (list(first.targets), list(second.targets)) == ([0.5, 0.75], [0.25])
        _, (free, _) = self.experiences(groups, kl_coeff=0.25, kl_in="loss")
        assert list(free.targets) == [1.0, 1.0]

    def test_dead_groups_teach_and_are_counted(self):
        gathered, found = self.experiences([episodes(1.0, 1.0), episodes(0.0, 0.0)])
        assert gathered.dead_groups == 2
        assert [list(one.targets) for one in found] == [[1.0, 1.0]] * 2 + [[0.0, 0.0]] * 2
        assert [list(one.advantages) for one in found] == [[-1.0, 0.0]] * 2 + [[-2.0, -1.0]] * 2

    def test_what_came_of_a_cut_turn_is_to_be_expected(self):
        gathered, found = self.experiences([[*episodes(1.0), *episodes(0.25, finished=False)]])
        assert gathered.cut_turns == 1
        assert [(one.turn.finished, list(one.targets)) for one in found] == [
            (True, [1.0, 1.0]),
            (False, [0.25, 0.25]),
        ]


P = {0: 1 / 2, 1: 1 / 4, 2: 1 / 4}
START = 3


class TablePolicy:
    """Three words, two a turn; which comes next depends on the one before alone: that is the state."""

    version = 0
    hidden_width = 4

    def __init__(self) -> None:
        # First the words have the odds of P; after each word those of P, turned round by it.
        odds = [[P[(word - before) % 3] for word in range(3)] for before in range(3)] + [list(P.values())]
        self.table = torch.nn.Parameter(torch.tensor(odds, dtype=torch.float64).log())

    def trainable(self):
        return {"table": self.table}

    def score(self, prompts, completions, *, temperature, hidden=False):
        before = torch.tensor([[START, first] for first, _ in completions])
        logprobs = (self.table / temperature).log_softmax(-1)[before]
        words = torch.tensor(completions).unsqueeze(-1)
        states = torch.eye(4, dtype=torch.float64)[before]
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        return Scored(logprobs.gather(-1, words).squeeze(-1), entropy, states if hidden else None)


def reward(words) -> float:
    first, second = words
    return [[0.1, 0.9, 0.3], [0.7, 0.0, 0.2], [0.4, 0.8, 0.6]][first][second]


def taken(policy, drawn) -> list[Turn]:
    logprobs = policy.score([], drawn, temperature=1.0).logprobs.tolist()
    said = zip(drawn, logprobs, strict=True)
    return [Turn("solo", 0, (0,), words, tuple(own), "", True, 0) for words, own in said]


def learner(policy, config) -> Learner:
    return Learner(
        "solo",
        policy,
        config,
        total_steps=1,
        temperature=1.0,
        learning_rate=1e-9,
        ranks=alone("solo"),
        critic=Critic(policy, shared=0.0),
    )


@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])
def test_one_epoch_with_a_perfect_critic_is_the_policy_gradient(gae_lambda):
    """Over every turn there is, as often as it is drawn: 16 of them have exactly the policy's odds.

    What is compared with is the gradient of the expected reward itself, by autograd; a token has half of a
    turn's weight.
    """
    policy, twin = TablePolicy(), TablePolicy()
    words = list(itertools.product(range(3), repeat=2))

    def odds(one: TablePolicy) -> torch.Tensor:
        return one.score([], words, temperature=1.0).logprobs.sum(1).exp()

    rewards = torch.tensor([reward(each) for each in words], dtype=torch.float64)
    shares = odds(policy).tolist()
    drawn = [each for each, share in zip(words, shares, strict=True) for _ in range(round(16 * share))]
    assert len(drawn) == 16

    config = train(gae_lambda, max_grad_norm=1e9)
    mine = learner(policy, config)
    after = [fmean(reward(each) for each in drawn if each[0] == first) for first in range(3)]
    start = fmean(map(reward, drawn))
    with torch.no_grad():
        mine._critic.head.weight.copy_(4 * torch.tensor([[*after, start]]))  # a value is w·h / width
    group = [scored([said], reward(said.token_ids)) for said in taken(policy, drawn)]
    gathered = gather([Group(group)], [mine], team_credit, estimators()["maporl_ppo"], config)
    metrics = updated(mine, gathered.by_agent["solo"])
    assert metrics["solo:clipped"] == 0.0

    (-(odds(twin) * rewards).sum() / 2).backward()
    assert torch.allclose(policy.table.grad, twin.table.grad, rtol=0, atol=1e-6)
    assert policy.table.grad.abs().max() > 1e-2


def test_any_advantages_give_the_policy_gradient_of_the_same():
    """One epoch, no clip reached, tokens with advantages of their own: −Σ A · log π / tokens."""
    policy, twin = TablePolicy(), TablePolicy()
    drawn = [(0, 1), (2, 2), (1, 0)]
    advantages = [[0.3, -1.2], [2.0, 0.0], [-0.4, 0.9]]
    turns = taken(policy, drawn)
    batch = [
        Experience(said, values, [0.0] * 2, [1.0] * 2) for said, values in zip(turns, advantages, strict=True)
    ]
    updated(learner(policy, train(max_grad_norm=1e9)), batch)
    now = twin.score([], drawn, temperature=1.0).logprobs
    (-(torch.tensor(advantages, dtype=torch.float64) * now).sum() / 6).backward()
    assert torch.allclose(policy.table.grad, twin.table.grad, rtol=0, atol=1e-12)


def test_registered():
    assert isinstance(estimators()["maporl_ppo"], CriticEstimator)
    assert estimators()["maporl_ppo"].across_groups
