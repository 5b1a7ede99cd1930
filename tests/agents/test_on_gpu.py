"""Policies on a GPU give what they give on a CPU. The GPU is a pretended one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from decoders import COMPLETIONS, MODELS, PLAIN, PROMPTS, QUESTION, policy_of, streams, there
from pretended_gpu import pretended_gpu
from support import WORDS
from torch import Tensor

from maporl_cli.agents import replay
from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.policy import Sample
from maporl_cli.agents.tiny import tiny_tokenizer


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """What is done twice is recorded the second time."""
    monkeypatch.setattr(replay, "READY", 2)


def sampled(policy: CausalPolicy, prompts: Sequence[tuple[int, ...]] = PROMPTS) -> list[Sample]:
    """Rows end at different times."""
    policy._eos_ids = frozenset(range(1, 6))
    return policy.sample(prompts, streams(len(prompts)), max_new_tokens=24, temperature=1.3)


def refuse_unlike(found: Sequence[Sample], expected: Sequence[Sample]) -> None:
    assert len({len(sample.token_ids) for sample in expected}) > 3
    assert [sample.token_ids for sample in found] == [sample.token_ids for sample in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-5)


APART = [*PROMPTS, *[QUESTION] * 12, *[(*range(row, row + 12),) for row in range(20, 26)]]
"""Groups of unlike sizes, whose keys and values are stored apart."""


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("lora", "prompts"),
    [(False, PROMPTS), (True, PROMPTS), (False, APART)],
    ids=["whole", "LoRA", "unlike groups"],
)
def test_tokens_are_replayed(kind, lora, prompts):
    """Each time that rows leave another graph is recorded."""
    expected = sampled(policy_of(kind, lora=lora), prompts)
    with pretended_gpu() as machine:
        found = sampled(there(policy_of(kind, lora=lora)), prompts)
    assert machine.recorded >= 2
    assert machine.replays >= machine.recorded + 4
    refuse_unlike(found, expected)


def test_a_handful_of_tokens_is_not_recorded(monkeypatch):
    monkeypatch.setattr(replay, "READY", 8)
    with pretended_gpu() as machine:
        policy = there(policy_of("qwen2"))
        policy._eos_ids = frozenset()
        for tokens, replays in ((8, 0), (9, 1), (11, 3 + 1)):  # a turn's last token is not read
            policy.sample(PROMPTS, streams(10), max_new_tokens=tokens, temperature=1.0)
            assert machine.replays == replays


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("it is full"), torch.AcceleratorError("it is busy", 1)]
)
def test_what_cannot_be_recorded_is_done_as_it_is(error, monkeypatch):
    def fails(graph: object, **_: object) -> None:
        raise error

    expected = sampled(policy_of("qwen2"))
    with pretended_gpu() as machine:
        monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_begin", fails)
        with pytest.warns(UserWarning, match="started one by one, as recording them failed"):
            found = sampled(there(policy_of("qwen2")))
    assert machine.replays == 0
    refuse_unlike(found, expected)


def test_memory_that_ends_while_it_is_recorded(monkeypatch):
    """What was begun is ended, and nothing of it was done."""
    expected = sampled(policy_of("qwen2"))
    with pretended_gpu() as machine:
        policy = there(policy_of("qwen2"))
        run = policy._forward._decoder.run

        def short(*args, **kwargs):
            found = run(*args, **kwargs)
            if machine.recording is not None:
                raise torch.OutOfMemoryError("there is none left")
            return found

        monkeypatch.setattr(policy._forward._decoder, "run", short)
        with pytest.warns(UserWarning, match="recording them failed: there is none left"):
            found = sampled(policy)
        assert machine.recording is None
        assert not machine.aside
    refuse_unlike(found, expected)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("lora", [False, True])
def test_half_precision_is_near_that_of_a_cpu(kind, lora):
    """Beside an adapter the base is in half precision itself, as `agents.build` loads it."""

    def half() -> CausalPolicy:
        policy = policy_of(kind, lora=lora, compute=torch.bfloat16)
        if lora:
            for name, parameter in policy._model.named_parameters():
                if "lora_" not in name:
                    parameter.data = parameter.data.bfloat16()
        return policy

    with pretended_gpu() as machine:
        found = sampled(there(half()))
    assert machine.replays >= machine.recorded + 4
    said = [sample.token_ids for sample in found]
    scores = half().score(PROMPTS, said, temperature=1.3).logprobs
    for sample, row in zip(found, scores.tolist(), strict=True):
        assert sample.logprobs == pytest.approx(row[: len(sample.token_ids)], abs=0.05)


def test_what_is_not_finite_stays_in_its_row():
    policy = policy_of("llama", tied=False)
    with torch.no_grad():
        policy._model.get_input_embeddings().weight[2] = float("nan")
    policy._eos_ids = frozenset()
    with pretended_gpu():
        policy = there(policy)
        samples = policy.sample([(2, 4), (5, 6, 7), (8,)], [None] * 3, max_new_tokens=4, temperature=1.0)
        scored = policy.score([(2, 4), (5, 6, 7), (8,)], [(3, 4)] * 3, temperature=1.0).logprobs.tolist()
    for finite in (
        [all(map(math.isfinite, sample.logprobs)) for sample in samples],
        [all(map(math.isfinite, row)) for row in scored],
    ):
        assert finite == [False, True, True]


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


@pytest.mark.parametrize("kind", ["gpt2", "a sliding window"])  # rows of unlike lengths
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
    refuse_unlike(found, expected)
