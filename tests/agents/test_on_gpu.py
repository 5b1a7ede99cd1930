"""Policies on a GPU give what they give on a CPU. The GPU is a pretended one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from decoders import COMPLETIONS, MODELS, PROMPTS, SHAPE, policy_of, streams, there
from pretended_gpu import pretended_gpu
from support import WORDS
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.policy import Sample
from maporl_cli.agents.tiny import tiny_tokenizer


def sampled(policy: CausalPolicy) -> list[Sample]:
    """Rows end at different times."""
    policy._eos_ids = frozenset(range(1, 6))
    return policy.sample(PROMPTS, streams(10), max_new_tokens=24, temperature=1.3)


def alike(found: Sequence[Sample], expected: Sequence[Sample]) -> bool:
    assert len({len(sample.token_ids) for sample in expected}) > 3
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)
    return [sample.token_ids for sample in found] == [sample.token_ids for sample in expected]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("lora", [False, True])
def test_tokens_are_replayed(kind, lora):
    """Each time that rows leave another graph is recorded."""
    expected = sampled(policy_of(kind, lora=lora))
    with pretended_gpu() as machine:
        found = sampled(there(policy_of(kind, lora=lora)))
    assert machine.recorded >= 2
    assert machine.replays >= machine.recorded + 4
    assert alike(found, expected)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("lora", [False, True])
def test_half_precision_is_near_that_of_a_cpu(kind, lora):
    half = {"compute": torch.bfloat16, "lora": lora}
    with pretended_gpu() as machine:
        found = sampled(there(policy_of(kind, **half)))
    assert machine.replays >= machine.recorded + 4
    said = [sample.token_ids for sample in found]
    scores = policy_of(kind, **half).score(PROMPTS, said, temperature=1.3).logprobs
    for sample, row in zip(found, scores.tolist(), strict=True):
        assert sample.logprobs == pytest.approx(row[: len(sample.token_ids)], abs=0.05)


def learned(policy: CausalPolicy) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Scores, and gradients."""
    scored = policy.score(PROMPTS, COMPLETIONS, temperature=0.8, hidden=True)
    assert scored.hidden is not None
    parts = [scored.logprobs, scored.entropy, scored.hidden]
    assert all(part.device == policy.device for part in parts)
    (parts[0].sum() - parts[1].square().sum() + parts[2].square().mean()).backward()
    gradients = {name: parameter.grad for name, parameter in policy.trainable().items()}
    return [part.detach() for part in parts], {
        name: grad.detach() for name, grad in gradients.items() if grad is not None
    }


def back(tensor: Tensor) -> Tensor:
    return torch.tensor(tensor.tolist())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    "options",
    [{}, {"lora": True}, {"gradient_checkpointing": True}, {"gradient_checkpointing": True, "lora": True}],
    ids=["whole", "LoRA", "checkpointing", "checkpointing, LoRA"],
)
def test_scores_and_gradients(kind, options):
    expected, pushes = learned(policy_of(kind, **options))
    with pretended_gpu():
        found, theirs = learned(there(policy_of(kind, **options)))
        found, theirs = [back(part) for part in found], {name: back(grad) for name, grad in theirs.items()}
    said = torch.tensor([[place < len(row) for place in range(8)] for row in COMPLETIONS])
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one[said], other[said], atol=2e-5)
    assert theirs.keys() == pushes.keys()
    for name, gradient in pushes.items():
        assert (theirs[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


PLAIN = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=60, n_embd=24, n_layer=2, n_head=2, n_positions=64, eos_token_id=1)
    ),
    "a sliding window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4)),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_models_that_are_run_plainly(kind):
    def made() -> CausalPolicy:
        torch.manual_seed(0)
        return CausalPolicy(PLAIN[kind](), tiny_tokenizer(WORDS), frozenset({1}))

    expected = sampled(made())
    scores, _ = learned(made())
    with pretended_gpu():
        found = sampled(there(made()))
        ours, _ = learned(there(made()))
        assert torch.allclose(back(ours[0]), scores[0], atol=2e-5)
    assert alike(found, expected)
