"""What is computed once for rows that begin alike equals what transformers computes for each row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from decoders import (
    COMPLETIONS,
    END,
    MODELS,
    OTHER,
    PAD,
    PLAIN,
    PROMPTS,
    QUESTION,
    SHAPE,
    TURN,
    plainly,
    policy_of,
    streams,
)
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from support import WORDS
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.decoder import unknown
from maporl_cli.agents.padded_forward import PaddedForward
from maporl_cli.agents.tiny import tiny_tokenizer


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(
    ("tied", "pad", "checkpointing"),
    [(True, PAD, False), (False, END, False), (True, END, True)],
    ids=["tied", "pad = eos", "tied, pad = eos, checkpointing"],
)
def test_scores_and_gradients_equal_those_of_padded_rows(kind, lora, tied, pad, checkpointing):
    policy = policy_of(kind, tied=tied, lora=lora, pad=pad, gradient_checkpointing=checkpointing)
    assert policy.plainly is None
    weights = torch.linspace(-1, 1.5, 80).view(10, 8)
    said = torch.tensor([[place < len(row) for place in range(8)] for row in COMPLETIONS])

    def gradients(told: Any) -> dict[str, torch.Tensor]:
        policy._model.zero_grad()
        values = (told.logprobs - 0.1 * told.entropy).where(said, 0.0) * weights
        states = told.hidden.where(said.unsqueeze(-1), 0.0).square().mean()
        (values.sum() + states).backward()
        return {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}

    theirs = plainly(policy).tell(PROMPTS, COMPLETIONS, 0.8, hidden=True)
    expected = gradients(theirs)
    ours = policy.score(PROMPTS, COMPLETIONS, temperature=0.8, hidden=True)
    found = gradients(ours)
    for one, other in ((ours.logprobs, theirs.logprobs), (ours.entropy, theirs.entropy)):
        assert torch.allclose(one[said], other[said], atol=2e-5)
    assert ours.hidden is not None
    assert torch.allclose(ours.hidden[said], theirs.hidden[said], atol=1e-4)
    assert found.keys() == expected.keys() == policy.trainable().keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("lora", [False, True])
def test_greedy_tokens_are_those_of_transformers(kind, lora):
    policy = policy_of(kind, lora=lora)
    ours = policy.sample(PROMPTS, [None] * 10, max_new_tokens=14, temperature=1.0)
    for prompt, sample in zip(PROMPTS, ours, strict=True):
        theirs = policy._model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),  # a pad token is a word as any other
            max_new_tokens=14,
            do_sample=False,
            pad_token_id=PAD,
            eos_token_id=1,
        )
        assert list(sample.token_ids) == theirs[0, len(prompt) :].tolist()
    assert len({sample.token_ids for sample in ours}) > 4


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("lora", [False, True])
def test_sampled_logprobs_are_those_of_padded_rows(kind, lora):
    """Rows end at different times, and leave the batch; the rest of a group's rows go on."""
    policy = policy_of(kind, lora=lora)
    policy._eos_ids = frozenset(range(1, 9))
    samples = policy.sample(PROMPTS, streams(10), max_new_tokens=12, temperature=1.3)
    lengths = [len(sample.token_ids) for sample in samples]
    assert len(set(lengths)) > 3
    said = [sample.token_ids for sample in samples]
    theirs = plainly(policy).tell(PROMPTS, said, 1.3).logprobs
    for sample, expected in zip(samples, theirs.tolist(), strict=True):
        assert sample.logprobs == pytest.approx(expected[: len(sample.token_ids)], abs=2e-5)
    alone = [
        policy.sample([prompt], [stream], max_new_tokens=12, temperature=1.3)[0]
        for prompt, stream in zip(PROMPTS, streams(10), strict=True)
    ]
    assert [sample.token_ids for sample in alone] == said


def computed(policy: CausalPolicy, work: Callable[[], object]) -> list[int]:
    """Tokens in each forward pass."""
    counts: list[int] = []
    embed = policy._model.get_input_embeddings()
    hook = embed.register_forward_pre_hook(lambda _, given: counts.append(given[0].numel()))
    try:
        work()
    finally:
        hook.remove()
    return counts


def test_what_rows_begin_with_is_computed_once():
    policy = policy_of("qwen2")
    prompts, completions = [QUESTION] * 4 + [(*QUESTION, *TURN)] * 2, [(30 + row, 40) for row in range(6)]
    scored = computed(policy, lambda: policy.score(prompts, completions, temperature=1.0))
    assert scored == [len(QUESTION) + len(TURN) + 6]  # a completion's last token predicts nothing
    policy._eos_ids = frozenset()
    drawn = computed(policy, lambda: policy.sample(prompts, streams(6), max_new_tokens=3, temperature=1.0))
    assert drawn == [len(QUESTION) + len(TURN), 6, 6]


def test_a_group_s_question_is_stored_once_and_rows_that_have_ended_leave():
    policy = policy_of("llama")
    reading: Any = policy._forward.read([QUESTION] * 4 + [OTHER] * 2 + [(*OTHER, 9)], 5)
    (bench,) = reading._cache._benches
    (trunk, _), (own, _) = bench._trunks[0], bench._own[0]
    assert trunk.shape == (2, 2, 6, len(QUESTION))
    assert own.shape == (7, 2, 1 + 5, 6)
    reading.go_on(torch.tensor([3, 4]), torch.tensor([1, 3]))
    (bench,) = reading._cache._benches
    (trunk, _), (own, _) = bench._trunks[0], bench._own[0]
    assert trunk.shape[0] == 1
    assert own.shape[0] == 2


def test_half_precision_is_near_the_padded_rows():
    policy = policy_of("qwen2", compute=torch.bfloat16)
    ours = policy.score(PROMPTS, COMPLETIONS, temperature=1.0).logprobs
    with torch.autocast("cpu", torch.bfloat16):
        theirs = plainly(policy).tell(PROMPTS, COMPLETIONS, 1.0).logprobs
    exact = plainly(policy).tell(PROMPTS, COMPLETIONS, 1.0).logprobs
    said = torch.tensor([[place < len(row) for place in range(8)] for row in COMPLETIONS])
    apart, rounding = ((rows - exact)[said].abs().mean().item() for rows in (ours, theirs))
    assert 0 < apart < 2 * rounding
    samples = policy.sample(PROMPTS, streams(10), max_new_tokens=6, temperature=1.0)
    again = policy.score(PROMPTS, [sample.token_ids for sample in samples], temperature=1.0).logprobs
    for sample, row in zip(samples, again.tolist(), strict=True):
        assert sample.logprobs == pytest.approx(row[: len(sample.token_ids)], abs=10 * rounding)


def test_the_matrix_that_predicts_words_is_in_half_precision_too():
    policy = policy_of("qwen2", compute=torch.bfloat16)
    scored = policy.score([(3, 4)], [(8, 9, 10)], temperature=1.0, hidden=True)
    assert scored.hidden is not None
    words = policy._model.get_output_embeddings().weight.bfloat16()
    logs = (scored.hidden[0].bfloat16() @ words.T).float().log_softmax(-1)
    assert torch.allclose(scored.logprobs[0], logs[range(3), [8, 9, 10]], atol=1e-5)


def test_reference_and_score_are_one_in_half_precision_at_the_start():
    policy = policy_of("qwen2", compute=torch.bfloat16)
    policy.keep_reference()
    given_ = PROMPTS, COMPLETIONS
    assert torch.equal(
        policy.reference_logprobs(*given_, temperature=1.0), policy.score(*given_, temperature=1.0).logprobs
    )


def noted(sizes: list[int], kept: torch.Tensor) -> torch.Tensor:
    sizes.append(kept.numel())
    return kept


def test_checkpointing_keeps_less_and_computes_layers_again():
    """Once in the forward pass, and once in the backward pass."""
    kept: dict[bool, int] = {}
    for checkpointing in (False, True):
        policy = policy_of("llama", gradient_checkpointing=checkpointing)
        projection, sizes = policy._model.model.layers[0].self_attn.q_proj, list[int]()
        with (
            patch.object(projection, "forward", wraps=projection.forward) as calls,
            torch.autograd.graph.saved_tensors_hooks(partial(noted, sizes), lambda kept: kept),
        ):
            policy.score(PROMPTS, COMPLETIONS, temperature=1.0).logprobs.sum().backward()
        kept[checkpointing] = sum(sizes)
        assert calls.call_count == 1 + checkpointing
    assert kept[True] < kept[False] / 2


def test_an_empty_completion_says_nothing():
    policy = policy_of("qwen2")
    full = policy.score([(3, 4), (6, 7)], [(8,), (5, 9)], temperature=1.0, hidden=True)
    for first in (0, 1):
        said = [(), (5, 9)] if first == 0 else [(8,), ()]
        scored = policy.score([(3, 4), (6, 7)], said, temperature=1.0, hidden=True)
        there = 1 - first
        length = len(said[there])
        assert torch.allclose(scored.logprobs[there, :length], full.logprobs[there, :length], atol=1e-6)
        assert not scored.logprobs[first].any()
    assert policy.score([(3, 4)], [()], temperature=1.0).logprobs.shape == (1, 0)


def test_groups_of_unlike_sizes_sit_apart_and_draw_what_they_draw_alone():
    policy = policy_of("qwen2")
    policy._eos_ids = frozenset(range(1, 6))
    lone = [(*range(row, row + 12),) for row in range(20, 26)]
    prompts = [lone[0], *[QUESTION] * 12, *lone[1:], (*QUESTION, 9)]
    reading: Any = policy._forward.read(prompts, 3)
    assert sorted(len(rows) for rows in reading._cache._rows) == [6, 13]
    samples = policy.sample(prompts, streams(19), max_new_tokens=12, temperature=1.2)
    assert len({len(sample.token_ids) for sample in samples}) > 4
    for prompt, stream, sample in zip(prompts, streams(19), samples, strict=True):
        (alone,) = policy.sample([prompt], [stream], max_new_tokens=12, temperature=1.2)
        assert sample.token_ids == alone.token_ids
        assert sample.logprobs == pytest.approx(alone.logprobs, abs=2e-5)


def test_what_is_not_finite_stays_in_its_row():
    policy = policy_of("llama", tied=False)
    with torch.no_grad():
        policy._model.get_input_embeddings().weight[2] = float("nan")
    policy._eos_ids = frozenset()
    samples = policy.sample([(2, 4), (5, 6, 7), (8,)], [None] * 3, max_new_tokens=4, temperature=1.0)
    finite = [all(np.isfinite(sample.logprobs)) for sample in samples]
    assert finite == [False, True, True]


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_models_sample_what_transformers_does_and_what_they_score(kind):
    """Rows of one length, since a convolution reads what fills up shorter ones."""
    torch.manual_seed(0)
    model = PLAIN[kind]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    policy = CausalPolicy(model, tiny_tokenizer(WORDS), frozenset(range(1, 7)))
    assert policy.plainly
    prompts = [(9, 8, 7, 6, 5)] * 3 + [tuple(range(row, row + 5)) for row in range(20, 30)]
    greedy = policy.sample(prompts, [None] * 13, max_new_tokens=10, temperature=1.0)
    for prompt, sample in zip(prompts, greedy, strict=True):
        theirs = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, 5, dtype=torch.long),
            max_new_tokens=10,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=list(range(1, 7)),
        )
        assert list(sample.token_ids) == theirs[0, 5:].tolist()
    samples = policy.sample(prompts, streams(13), max_new_tokens=10, temperature=1.4)
    assert len({len(sample.token_ids) for sample in samples}) > 3
    for prompt, sample in zip(prompts, samples, strict=True):
        scored = policy.score([prompt], [sample.token_ids], temperature=1.4).logprobs[0]
        assert sample.logprobs == pytest.approx(scored.tolist(), abs=2e-5)


def test_checkpointing_is_not_in_the_way_of_a_plain_model_s_cache():
    """transformers refuses a cache to a model that checkpoints in training mode."""
    config = GPT2Config(
        vocab_size=60, n_embd=24, n_layer=2, n_head=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
    )
    policy = CausalPolicy(
        GPT2LMHeadModel(config), tiny_tokenizer(WORDS), frozenset({1}), gradient_checkpointing=True
    )
    policy.score([(3, 4)], [(5,)], temperature=1.0).logprobs.sum().backward()
    drawn = computed(policy, lambda: policy.sample([(3, 4)], [None], max_new_tokens=4, temperature=1.0))
    assert drawn[:2] == [2, 1]
    (sample,) = policy.sample([(3, 4)], streams(1), max_new_tokens=4, temperature=1.0)
    scored = policy.score([(3, 4)], [sample.token_ids], temperature=1.0).logprobs[0]
    assert sample.logprobs == pytest.approx(scored.tolist(), abs=2e-5)


class Narrow(LlamaForCausalLM):
    """An architecture of somebody's own, whose forward may do anything."""


def with_a_hook() -> Any:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.lm_head.register_forward_hook(lambda _, __, out: out * 0.5)
    return model


def with_a_layer_more() -> Any:
    model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.model.layers.append(model.model.layers[0])
    return model


def with_a_bias() -> Any:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.lm_head = torch.nn.Linear(24, 60)
    return model


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1)), "GPT2LMHeadModel"),
        (lambda: MistralForCausalLM(MistralConfig(**SHAPE)), "MistralForCausalLM"),
        (lambda: Narrow(LlamaConfig(**SHAPE)), "Narrow"),
        (
            lambda: Qwen2ForCausalLM(
                Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
            ),
            "sliding window",
        ),
        (lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, attention_dropout=0.1)), "dropout"),
        (lambda: with_a_hook(), "hooks"),
        (lambda: with_a_layer_more(), "3 of its 4 layers"),
        (lambda: with_a_bias(), "no plain matrix"),
        (
            lambda: get_peft_model(
                LlamaForCausalLM(LlamaConfig(**SHAPE)),
                PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
            ),
            "peft puts more",
        ),
        (
            lambda: LlamaForCausalLM(
                LlamaConfig(
                    **SHAPE,
                    rope_parameters={
                        "rope_type": "longrope",
                        "rope_theta": 1000.0,
                        "factor": 2.0,
                        "short_factor": [1.0] * 3,
                        "long_factor": [2.0] * 3,
                        "original_max_position_embeddings": 128,
                    },
                )
            ),
            "longrope",
        ),
        (
            lambda: LlamaForCausalLM(
                LlamaConfig(
                    **SHAPE,
                    rope_parameters={"rope_type": "dynamic", "rope_theta": 1000.0, "factor": 2.0},
                )
            ),
            "dynamic",
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_is_not_known_runs_as_transformers_runs_it(model, why):
    own = model()
    reason = unknown(own)
    assert reason is not None
    assert why in reason
    policy = CausalPolicy(own, tiny_tokenizer(WORDS), frozenset({1}))
    assert policy.plainly == reason
    assert isinstance(policy._forward, PaddedForward)


def test_a_last_layer_with_an_adapter_is_not_known():
    model: Any = LlamaForCausalLM(LlamaConfig(**SHAPE))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["lm_head"]))
    assert unknown(adapted) == "its last layer is no plain matrix"
