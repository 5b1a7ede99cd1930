"""Value heads: what they read, that they learn, and what they leave alone."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import WORDS, alone, equals_finite_differences, tiny_policy, turn, updated
from transformers import GPT2Config, GPT2LMHeadModel

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.tiny import tiny_tokenizer
from maporl_cli.core.config import TrainConfig
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Turn
from maporl_cli.training.critic import Critic, explained_variance, value_loss
from maporl_cli.training.experience import Experience
from maporl_cli.training.update import Learner

PROMPTS = [(3, 4, 5), (6, 7), (8,), (9, 10, 11, 12), (13, 14), (20,)]


def learner(policy, *, steps=1000, scale=False, **settings) -> Learner:
    config = TrainConfig.model_validate({"max_grad_norm": 1e9, "lr_scheduler_type": "constant", **settings})
    return Learner(
        "planner",
        policy,
        config,
        total_steps=steps,
        temperature=1.0,
        learning_rate=config.learning_rate,
        ranks=alone("planner"),
        critic=Critic(policy, shared=config.value_loss_coeff),
        scale_gradients=scale,
    )


def table(policy) -> list[Experience]:
    """Turns of 1 to 6 tokens, each token with an advantage and a target of its own."""
    drawn = policy.sample(
        PROMPTS, [keyed_generator("v", row) for row in range(6)], max_new_tokens=6, temperature=1.0
    )
    made = []
    for row, (prompt, sample) in enumerate(zip(PROMPTS, drawn, strict=True)):
        ids, logprobs = sample.token_ids[: row + 1], sample.logprobs[: row + 1]
        said = Turn("planner", 0, prompt, ids, logprobs, "", True, 0)
        advantages = [math.sin(row + 3 * place) for place in range(len(ids))]
        targets = [math.cos(2 * row + place) for place in range(len(ids))]
        made.append(Experience(said, advantages, [0.0] * len(ids), targets))
    return made


def gradients(policy):
    return [parameter.grad.clone() for parameter in policy.trainable().values()]


class TestLoss:
    def test_half_the_square_over_active_tokens(self):
        values = torch.tensor([[1.0, 2.0], [0.5, float("nan")]], requires_grad=True)
        targets = torch.tensor([[0.0, 4.0], [0.0, 9.0]])
        loss = value_loss(values, targets, torch.tensor([[True, True], [True, False]]), 3)
        assert loss.item() == pytest.approx((1 + 4 + 0.25) / 6)
        loss.backward()
        assert values.grad is not None
        assert torch.allclose(values.grad, torch.tensor([[1.0, -2.0], [0.5, 0.0]]) / 3)

    def test_divided_by_the_tokens_of_all_ranks(self):
        one = torch.ones(1, 1)
        assert value_loss(one, one * 0, one.bool(), 20).item() == pytest.approx(1 / 40)


class TestExplainedVariance:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([1.0, 2.0, 6.0], 1.0),
            ([3.0, 3.0, 3.0], 0.0),  # the mean
            ([0.0, 0.0, 0.0], 1 - 41 / 14),  # squares 1 + 4 + 36; about the mean 4 + 1 + 9
            ([2.0, 2.0, 5.0], 1 - 2 / 14),
        ],
    )
    def test_by_hand(self, values, expected):
        assert explained_variance(values, [1.0, 2.0, 6.0], list) == pytest.approx(expected)

    def test_nothing_to_explain(self):
        assert explained_variance([0.3, 0.4], [1.0, 1.0], list) == 0.0
        assert explained_variance([0.3, 0.4], [0.0, 0.0], list) == 0.0

    @pytest.mark.parametrize("count", range(2, 12))
    def test_nor_where_the_mean_is_rounded(self, count):
        """Ten times .1 is not the sum of ten .1, and a target is a value and the rest of the return."""
        values = [0.7 + place / 3 for place in range(count)]
        assert explained_variance(values, [v + (0.1 - v) for v in values], list) == 0.0
        assert explained_variance([0.0] * count, [0.1] * count, list) == 0.0

    def test_a_small_spread_is_one(self):
        assert explained_variance([1.0, 1.0], [1.0 - 1e-4, 1.0 + 1e-4], list) == pytest.approx(0.0, abs=1e-6)
        assert explained_variance([0.9999, 1.0001], [0.9999, 1.0001], list) == 1.0

    def test_replicas_are_told_of_together(self):
        """This one has the targets 1 and 2, foreseen; the other 6, of which 5 was expected."""
        theirs = iter([[6.0, 1.0, 1.0, 36.0], [9.0]])
        share = explained_variance(
            [1.0, 2.0],
            [1.0, 2.0],
            lambda mine: [a + b for a, b in zip(mine, next(theirs), strict=True)],
        )
        assert share == pytest.approx(1 - 1 / 14)


def test_the_head_is_zero_at_its_start():
    policy = tiny_policy()
    mine = learner(policy)
    told = mine.values([turn(tokens=tokens) for tokens in (3, 1)])
    assert told == [[0.0] * 3, [0.0]]


@pytest.mark.parametrize("size", [1, 4, 128])
def test_values_are_the_head_s_reading_of_each_token_s_state(size):
    policy = tiny_policy()
    mine = learner(policy, per_device_train_batch_size=size)
    head = mine._critic.head
    torch.manual_seed(0)
    torch.nn.init.normal_(head.weight, std=64)
    turns = [experience.turn for experience in table(policy)]
    for said, values in zip(turns, mine.values(turns), strict=True):
        ids = torch.tensor([[*said.prompt_ids, *said.token_ids]])
        states = policy._model(ids, output_hidden_states=True).hidden_states[-1][0]
        # A token's value is read where the token is predicted: one place before it.
        expected = head(states / 64)[len(said.prompt_ids) - 1 : -1, 0]
        assert values == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_head_learns_a_table_of_returns():
    """On a fixed batch, with a policy that stands still: from nothing explained to nearly all."""
    policy = tiny_policy()
    batch = table(policy)
    mine = learner(policy, learning_rate=1e-30, ppo={"value_learning_rate": 0.3})
    turns = [experience.turn for experience in batch]
    targets = [target for experience in batch for target in experience.targets]

    def told() -> float:
        return explained_variance([value for values in mine.values(turns) for value in values], targets, list)

    shares = [told()]
    for updates in (5, 15, 60):
        for _ in range(updates):
            updated(mine, batch)
        shares.append(told())
    assert shares == sorted(shares)
    assert shares[0] <= 0.0
    assert shares[-1] > 0.95


def test_the_explained_variance_is_of_what_was_expected_before_the_update():
    policy = tiny_policy()
    batch = table(policy)
    expected = [
        Experience(one.turn, one.advantages, [target - 0.1 for target in one.targets], one.targets)
        for one in batch
    ]
    told = updated(learner(policy, update_epochs=3), expected)["planner:explained_variance"]
    targets = np.array([target for one in batch for target in one.targets])
    assert told == pytest.approx(1 - 0.01 / targets.var())


def test_alone_the_head_leaves_the_policy_s_gradient_and_its_norm_as_they_are():
    plain, valued = tiny_policy(), tiny_policy()
    config = {"max_grad_norm": 0.5, "ppo": {"value_learning_rate": 10.0}}
    bare = learner(plain, **config)
    bare._critic = None
    one = updated(bare, table(plain))
    other = updated(learner(valued, **config), table(valued))
    assert other.pop("planner:explained_variance") < 0.5
    assert one == other
    for a, b in zip(gradients(plain), gradients(valued), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain.trainable().values(), valued.trainable().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("coefficient", [0.1, 0.5])
def test_a_share_of_the_value_loss_reaches_the_policy(coefficient):
    """Written again: the gradient of the policy's loss, and the share times that of ½ mean (V − target)²."""
    policy, none, twin = tiny_policy(), tiny_policy(), tiny_policy()
    batch = table(policy)
    heads = []
    for one, share in ((policy, coefficient), (none, 0.0)):
        mine = learner(one, value_loss_coeff=share)
        with torch.no_grad():
            mine._critic.head.weight.copy_(torch.linspace(-64, 64, one.hidden_width))
        updated(mine, batch)
        heads.append(mine._critic.head.weight.grad.clone())
    assert torch.equal(*heads)

    head = torch.linspace(-64, 64, twin.hidden_width)
    missed = torch.zeros(())
    for one in batch:
        ids = torch.tensor([[*one.turn.prompt_ids, *one.turn.token_ids]])
        states = twin._model(ids, output_hidden_states=True).hidden_states[-1][0]
        values = states[len(one.turn.prompt_ids) - 1 : -1] @ head / 64
        missed = missed + ((values - torch.tensor(one.targets)) ** 2).sum()
    tokens = sum(len(one.targets) for one in batch)
    (coefficient * missed / (2 * tokens)).backward()
    for mixed, own, value in zip(gradients(policy), gradients(none), gradients(twin), strict=True):
        assert torch.allclose(mixed, own + value, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"per_device_train_batch_size": 1}, {"per_device_train_batch_size": 4}, {"scale": True}]
)
def test_neither_passes_nor_a_scaler_change_the_gradient(options):
    found = []
    for settings in ({}, options):
        policy = tiny_policy()
        mine = learner(policy, value_loss_coeff=0.3, **settings)
        with torch.no_grad():
            mine._critic.head.weight.fill_(6.4)
        metrics = updated(mine, table(policy))
        metrics.pop("planner:loss_scale", None)
        found.append((metrics, gradients(policy), mine._critic.head.weight.grad))
    (one, whole, head), (other, parts, other_head) = found
    assert other == pytest.approx(one, abs=1e-5)
    assert torch.allclose(head, other_head, atol=1e-6, rtol=1e-5)
    for a, b in zip(whole, parts, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-5)


def test_a_cut_turn_teaches_the_head_alone():
    found = []
    for cut in (False, True):
        policy = tiny_policy()
        *batch, last = table(policy)
        batch.append(replace(last, turn=replace(last.turn, finished=False)))
        mine = learner(policy, per_device_train_batch_size=4)
        metrics = updated(mine, batch if cut else batch[:-1])
        metrics.pop("planner:explained_variance")
        found.append((metrics, gradients(policy), mine._critic.head.bias.grad.item()))
    (without, left, bias), (metrics, right, moved) = found
    assert metrics == pytest.approx(without, abs=1e-6)
    for a, b in zip(left, right, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    tokens, missed = sum(len(one.targets) for one in batch[:-1]), sum(last.targets)
    assert moved == pytest.approx(bias - missed / tokens, abs=1e-5)


def test_cut_turns_alone_teach_nothing():
    policy = tiny_policy()
    batch = [replace(one, turn=replace(one.turn, finished=False)) for one in table(policy)]
    assert updated(learner(policy), batch) == {"planner:tokens": 0.0}
    assert policy.version == 0


def test_a_head_does_not_decay():
    policy = tiny_policy()
    mine = learner(policy, weight_decay=0.5, ppo={"value_learning_rate": 0.1})
    with torch.no_grad():
        mine._critic.head.bias.fill_(0.5)
    foreseen = [Experience(e.turn, e.advantages, e.values, [0.5] * len(e.targets)) for e in table(policy)]
    updated(mine, foreseen)
    assert mine._critic.head.bias.item() == 0.5


def test_the_gradient_of_the_whole_loss_equals_finite_differences():
    # GPT-2, since Llama's norms compute in fp32 whatever the weights are
    shape = GPT2Config(
        vocab_size=48, n_embd=8, n_layer=2, n_head=2, n_positions=32, bos_token_id=1, eos_token_id=1
    )
    torch.manual_seed(0)
    policy = CausalPolicy(GPT2LMHeadModel(shape).double(), tiny_tokenizer(WORDS), frozenset({1}))
    batch = table(policy)
    policy.keep_reference()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.1 * torch.randn_like(parameter)
    mine = learner(
        policy, value_loss_coeff=1.0, kl_coeff=0.1, entropy_coeff=0.05, clip_ratio=0.2, clip_ratio_high=0.3
    )
    head = mine._critic.head
    with torch.no_grad():
        head.weight.copy_(8 * torch.randn_like(head.weight))
    tokens = sum(len(one.targets) for one in batch)

    def loss() -> torch.Tensor:
        terms, missed = mine._loss(batch, tokens)
        assert 0 < terms.clipped < tokens, "some tokens are clipped, and some are not"
        return terms.loss + missed

    equals_finite_differences(loss, [*policy.trainable().items(), *head.named_parameters()])


def test_two_and_a_resume_and_two_equal_four_bit_for_bit():
    options = {"steps": 4, "learning_rate": 0.01, "lr_scheduler_type": "cosine", "update_epochs": 2}
    straight, first, second = tiny_policy(), tiny_policy(), tiny_policy(seed=9)
    batch = table(straight)
    whole = learner(straight, **options)
    for _ in range(4):
        updated(whole, batch)

    half = learner(first, **options)
    for _ in range(2):
        updated(half, batch)
    file = io.BytesIO()
    torch.save(half.state(), file)
    file.seek(0)
    with torch.no_grad():
        for name, parameter in second.trainable().items():
            parameter.copy_(first.trainable()[name])
    again = learner(second, **options)
    again.load_state(torch.load(file, weights_only=True))
    for _ in range(2):
        updated(again, batch)
    turns = [one.turn for one in batch]
    assert again.values(turns) == whole.values(turns)
    assert any(value for values in whole.values(turns) for value in values)
    for one, other in zip(straight.trainable().values(), second.trainable().values(), strict=True):
        assert torch.equal(one, other)


def test_the_head_s_rate_follows_the_policy_s_schedule():
    rates = {"learning_rate": 0.1, "ppo": {"value_learning_rate": 1.0}}
    mine = learner(tiny_policy(), steps=4, lr_scheduler_type="linear", **rates)
    found = []
    for _ in range(4):
        found.append(mine.state()["schedule"]["_last_lr"])
        updated(mine, [])
    assert np.allclose(found, [[0.1, 1.0], [0.075, 0.75], [0.05, 0.5], [0.025, 0.25]])
