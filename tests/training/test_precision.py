"""What saves memory or time changes no gradient; half precision learns the same around fp32 weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from support import WORDS, alone, tiny_policy, updated

from maporl_cli.agents.build import with_adapters
from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.policy import NotFinite
from maporl_cli.agents.tiny import tiny_model, tiny_tokenizer
from maporl_cli.core.config import Config, TrainConfig
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Turn
from maporl_cli.training.experience import Experience
from maporl_cli.training.update import Learner

AGENTS = ("planner", "analyst", "reporter")
PROMPTS = [(3, 4, 5), (6, 7), (8,), (9, 10, 11, 12), (13, 14), (3, 4, 5), (20,)]
ADVANTAGES = [0.5, -1.0, 0.25, 1.5, -0.75, 0.0, 0.3]
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])


def full(**options) -> CausalPolicy:
    policy = tiny_policy(keep_reference=True, **options)
    moved(policy)
    return policy


def adapted(*agents: str, **options) -> dict[str, CausalPolicy]:
    """Policies that share a frozen base, with an adapter each that is no longer at its start."""
    config = Config.model_validate({"team": {"agents": [{"name": name} for name in agents]}})
    tokenizer = tiny_tokenizer(WORDS)
    base = tiny_model(tokenizer, 0)
    shared = with_adapters(base, config, config.team.agents)
    policies = {
        name: CausalPolicy(shared, tokenizer, frozenset({1}), adapter=name, **options) for name in agents
    }
    for name, policy in policies.items():
        moved(policy, name)
    return policies


def moved(policy: CausalPolicy, name: str = "") -> None:
    """Away from its reference, so that the KL term has a gradient, and from LoRA's zeros."""
    draw = torch.Generator().manual_seed(sum(map(ord, name)))
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)


def lora(**options) -> CausalPolicy:
    return adapted("planner", **options)["planner"]


def experiences(policy: CausalPolicy) -> list[Experience]:
    streams = [keyed_generator("precision", index) for index in range(len(PROMPTS))]
    samples = policy.sample(PROMPTS, streams, max_new_tokens=6, temperature=1.1)
    turns = [
        Turn("planner", 0, prompt, sample.token_ids, sample.logprobs, "", True, 0)
        for prompt, sample in zip(PROMPTS, samples, strict=True)
    ]
    return [
        Experience(turn, [advantage] * len(turn.token_ids))
        for turn, advantage in zip(turns, ADVANTAGES, strict=True)
    ]


def learner(policy: CausalPolicy, agent: str = "planner", *, scale: bool = False, **settings) -> Learner:
    every_term = {"kl_coeff": 0.1, "entropy_coeff": 0.01, "max_grad_norm": 1e9, "warmup_steps": 0}
    config = TrainConfig.model_validate(every_term | settings)
    return Learner(
        agent,
        policy,
        config,
        total_steps=10,
        temperature=1.1,
        learning_rate=config.learning_rate,
        ranks=alone(agent),
        scale_gradients=scale,
    )


def gradient(
    policy: CausalPolicy, batch: list[Experience], agent: str = "planner", **settings
) -> torch.Tensor:
    """Of one update with every term of the loss, all parameters in a row."""
    updated(learner(policy, agent, **settings), batch)
    return torch.cat([parameter.grad.flatten() for parameter in policy.trainable().values()])


def weights(policy: CausalPolicy) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in policy.trainable().values()]).clone()


@pytest.mark.parametrize("kind", [full, lora])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 128])
def test_neither_microbatches_nor_checkpointing_change_a_gradient(kind, checkpointing, size):
    """A microbatch is padded to its own longest row and counts by the tokens of the whole update."""
    batch = experiences(kind())
    assert len({len(experience.turn.token_ids) for experience in batch}) > 1
    whole = gradient(kind(), batch, per_device_train_batch_size=128)
    parts = gradient(kind(gradient_checkpointing=checkpointing), batch, per_device_train_batch_size=size)
    assert whole.abs().max() > 1e-2
    assert torch.allclose(parts, whole, atol=1e-5, rtol=0)


@HALVES
@pytest.mark.parametrize("kind", [full, lora])
def test_half_precision_follows_the_gradient_of_fp32_around_fp32_weights(kind, dtype):
    batch = experiences(kind())
    exact = gradient(kind(), batch)
    policy = kind(compute=dtype)
    start = weights(policy)
    found = gradient(policy, batch, scale=dtype is torch.float16, learning_rate=1e-6)
    assert found.dtype is weights(policy).dtype is torch.float32
    assert torch.cosine_similarity(found, exact, dim=0) > 0.995
    assert found.norm().item() == pytest.approx(exact.norm().item(), rel=0.05)
    steps = (weights(policy) - start).abs()
    assert 5e-7 < steps.max() < 2e-6, "half precision could not tell a weight of 1 from one so near"


@HALVES
def test_half_precision_scores_what_it_sampled_as_it_was_sampled(dtype):
    """Sampling reads a cache token by token and scoring reads whole rows: their rounding differs a little."""
    policy = full(compute=dtype)
    metrics = updated(learner(policy, scale=dtype is torch.float16, clip_ratio=0.1), experiences(policy))
    assert metrics["planner:clipped"] == 0.0


@HALVES
def test_checkpointing_recomputes_in_the_same_precision(dtype):
    batch = experiences(full())
    plain, checkpointed = (
        gradient(full(compute=dtype, gradient_checkpointing=on), batch, scale=dtype is torch.float16)
        for on in (False, True)
    )
    assert torch.allclose(checkpointed, plain, atol=1e-5, rtol=0)


def scaled_to(mine: Learner, scale: float) -> Learner:
    """The learner with another loss scale, as a run that goes on from a checkpoint gets its own."""
    state = mine.state()
    mine.load_state(state | {"scaler": state["scaler"] | {"scale": scale}})
    return mine


def test_a_gradient_that_overflows_fp16_is_skipped_and_the_next_one_at_half_the_scale_is_not():
    policy = full(compute=torch.float16)
    batch = experiences(policy)
    mine = scaled_to(learner(policy, scale=True), 2.0**40)
    start, moments = weights(policy), []
    scales = []
    while policy.version == 0:
        assert torch.equal(weights(policy), start)
        metrics = updated(mine, batch)
        scales.append(metrics["planner:loss_scale"])
        moments.append(mine.state()["optimizer"]["state"])
        assert len(scales) < 40
    skipped = scales[:-1]
    assert len(skipped) > 2
    assert skipped == [2.0 ** (40 - n) for n in range(1, len(skipped) + 1)], "halved each time"
    assert scales[-1] == skipped[-1], "the one that fits stays"
    assert not any(moments[:-1]), "Adam has not heard of what was skipped"
    assert policy.version == 1
    assert not torch.equal(weights(policy), start)
    exact = gradient(full(), batch)
    learned = torch.cat([parameter.grad.flatten() for parameter in policy.trainable().values()])
    assert torch.cosine_similarity(learned, exact, dim=0) > 0.995


def test_an_overflow_reports_no_update_but_the_step_counts_for_the_schedule():
    policy = full(compute=torch.float16)
    mine = scaled_to(learner(policy, scale=True, lr_scheduler_type="linear"), 2.0**40)
    metrics = updated(mine, experiences(policy))
    assert not math.isfinite(metrics["planner:grad_norm"])
    assert math.isfinite(metrics["planner:loss"])
    assert mine.state()["schedule"]["last_epoch"] == 1
    assert mine.state()["version"] == 0


def test_a_scale_that_falls_for_ever_ends_in_an_error_that_names_it():
    """The gradient is not too large but no number, so no scale would do."""
    policy = full(compute=torch.float16)
    mine = learner(policy, scale=True)
    batch = experiences(policy)
    next(iter(policy.trainable().values())).register_hook(lambda gradient: gradient * float("nan"))
    start = weights(policy)
    for expected in [2.0**power for power in range(15, -2, -1)]:
        assert updated(mine, batch)["planner:loss_scale"] == expected
    with pytest.raises(NotFinite, match=r"gradient, also at a loss scale of 0\.5, of the agent 'planner'"):
        updated(mine, batch)
    assert torch.equal(weights(policy), start)
    assert policy.version == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_agents_on_one_base_learn_as_if_each_had_its_own(dtype):
    """Their updates take turns on the shared model, and each moves its own adapter and nothing else."""
    shared = adapted(*AGENTS, compute=dtype)
    batches = {name: experiences(policy) for name, policy in shared.items()}
    model = shared["planner"]._model
    for name, policy in shared.items():
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        found = gradient(policy, batches[name], name)
        changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
        assert changed
        assert all(f".{name}." in key for key in changed), "the base and the others bit for bit as before"
        own = adapted(*AGENTS, compute=dtype)[name]
        assert torch.equal(found, gradient(own, batches[name], name))
        assert torch.equal(weights(policy), weights(own))
    told = [tuple(e.turn.token_ids for e in batch) for batch in batches.values()]
    assert len(set(told)) == len(AGENTS), "they do not say the same"


def test_an_adapters_gradient_is_that_of_a_model_with_no_other_adapter():
    together, single = adapted(*AGENTS)["analyst"], adapted("analyst")["analyst"]
    assert torch.equal(weights(together), weights(single))
    batch = [replace(e, turn=replace(e.turn, agent="analyst")) for e in experiences(single)]
    assert torch.equal(gradient(together, batch, "analyst"), gradient(single, batch, "analyst"))
