"""Imitation of demonstrations."""

from itertools import pairwise, repeat

import pytest
import torch
from support import tiny_policy

from maporl_cli.training.cold_start import Demonstration, imitate

SHORT = [Demonstration((3, 4), (6, 1)), Demonstration((5,), (7, 8, 1))]
LONG = [Demonstration((3, 4, 5, 6, 7), (9, 1))]


def run(policy, parts, steps, rate=4e-3):
    losses = []
    imitate(
        policy,
        repeat(parts),
        steps=steps,
        learning_rate=rate,
        decay=0.4,
        on_step=lambda *told: losses.append(told),
    )
    return losses


def nats(policy, shown):
    logprobs = policy.score([shown.prompt_ids], [shown.token_ids], temperature=1.0).logprobs
    return -logprobs.sum().item()


def test_the_loss_is_the_mean_over_parts_of_the_mean_over_their_tokens():
    policy = tiny_policy()
    expected = ((nats(policy, SHORT[0]) + nats(policy, SHORT[1])) / 5 + nats(policy, LONG[0]) / 2) / 2
    ((step, loss),) = run(policy, [SHORT, LONG], 1)
    assert step == 1
    assert loss == pytest.approx(expected, rel=1e-5)


def test_demonstrations_are_learned_to_their_end():
    policy = tiny_policy()
    told = run(policy, [SHORT, LONG], 60)
    assert [step for step, _ in told] == list(range(1, 61))
    assert told[-1][1] < 0.1 < 1 < told[0][1]
    prompts = [shown.prompt_ids for shown in (*SHORT, *LONG)]
    said = policy.sample(prompts, [None] * 3, max_new_tokens=8, temperature=1.0)
    assert [sample.token_ids for sample in said] == [shown.token_ids for shown in (*SHORT, *LONG)]
    assert policy.version == 0, "an update of the policy is one of reinforcement learning"


def test_the_rate_rises_and_falls():
    """Adam moves a weight by about the rate, so the largest move of a step tells it."""
    policy = tiny_policy()
    weights = [torch.cat([p.detach().flatten() for p in policy.trainable().values()])]

    def keep(step, loss):
        weights.append(torch.cat([p.detach().flatten() for p in policy.trainable().values()]).clone())

    imitate(policy, repeat([SHORT, LONG]), steps=50, learning_rate=4e-3, decay=0.4, on_step=keep)
    moves = [float((after - before).abs().max()) for before, after in pairwise(weights)]
    assert moves[0] == pytest.approx(4e-3 / 20, rel=0.1)
    assert moves[-1] < moves[25] / 5


def test_the_same_twice():
    one, two = tiny_policy(), tiny_policy()
    assert run(one, [SHORT], 5) == run(two, [SHORT], 5)
    assert all(
        torch.equal(a, b) for a, b in zip(one.trainable().values(), two.trainable().values(), strict=True)
    )


def test_no_steps_change_nothing():
    policy = tiny_policy()
    assert run(policy, [SHORT], 0) == []
    assert all(
        torch.equal(a, b)
        for a, b in zip(policy.trainable().values(), tiny_policy().trainable().values(), strict=True)
    )
