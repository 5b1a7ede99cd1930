"""An update on a GPU is that of a CPU. The GPU is a pretended one (`pretended_gpu`)."""

from __future__ import annotations

import pytest
from decoders import PROMPTS, policy_of, streams, there
from pretended_gpu import pretended_gpu
from support import alone, updated

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.core.config import TrainConfig
from maporl_cli.core.types import Turn
from maporl_cli.training.critic import Critic
from maporl_cli.training.experience import Experience
from maporl_cli.training.update import Learner

SETTINGS = {
    "per_device_train_batch_size": 4,
    "update_epochs": 2,
    "kl_coeff": 0.1,
    "kl_in": "loss",
    "entropy_coeff": 0.01,
    "max_grad_norm": 0.05,
    "learning_rate": 1e-2,
}


def learned(policy: CausalPolicy, *, valued: bool) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Metrics of two updates in passes, and the weights behind them."""
    policy.keep_reference()
    config = TrainConfig.model_validate(SETTINGS)
    critic = Critic(policy, shared=0.5) if valued else None
    learner = Learner(
        "planner",
        policy,
        config,
        total_steps=4,
        temperature=1.2,
        learning_rate=config.learning_rate,
        ranks=alone("planner"),
        critic=critic,
    )
    samples = policy.sample(PROMPTS, streams(10), max_new_tokens=6, temperature=1.2)
    turns = [
        Turn("planner", 0, prompt, sample.token_ids, sample.logprobs, "", sample.finished or index < 8, 0)
        for index, (prompt, sample) in enumerate(zip(PROMPTS, samples, strict=True))
    ]
    values = learner.values(turns) if valued else [[] for _ in turns]
    made = [
        Experience(turn, [0.3 * index - 1] * len(turn.token_ids), value, [index / 2] * len(value))
        for index, (turn, value) in enumerate(zip(turns, values, strict=True))
    ]
    metrics: dict[str, float] = {}
    for _ in range(2):
        metrics = updated(learner, made)
    metrics["divergence"] = sum(map(sum, learner.divergence(turns)))
    return metrics, {name: weight.flatten().tolist() for name, weight in policy.trainable().items()}


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("valued", [False, True])
def test_updates_are_those_of_a_cpu(lora, valued):
    expected, weights = learned(policy_of("qwen2", lora=lora), valued=valued)
    with pretended_gpu():
        found, theirs = learned(there(policy_of("qwen2", lora=lora)), valued=valued)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for name, weight in weights.items():
        assert theirs[name] == pytest.approx(weight, abs=1e-4), name
