"""Small decoders of the kinds that are run over shared beginnings, and rows for them that begin alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from pretended_gpu import on_gpu
from support import WORDS
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.padded_forward import PaddedForward
from maporl_cli.agents.tiny import tiny_tokenizer
from maporl_cli.core.randomness import keyed_generator

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 1,
    "rms_norm_eps": 1e-2,
}
MODELS: dict[str, Callable[..., Any]] = {
    "llama": lambda **own: LlamaForCausalLM(LlamaConfig(**SHAPE, **own)),
    "llama with biases and scaled rotations": lambda **own: LlamaForCausalLM(
        LlamaConfig(
            **SHAPE,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 1000.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            **own,
        )
    ),
    "qwen2": lambda **own: Qwen2ForCausalLM(Qwen2Config(**SHAPE, **own)),
    "qwen3": lambda **own: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8, **own)),
}
PLAIN: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=60, n_embd=24, n_layer=2, n_head=2, n_positions=64, eos_token_id=1)
    ),
    "a sliding window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4)),
    "convolutions": lambda: Lfm2ForCausalLM(
        Lfm2Config(**SHAPE, layer_types=["conv", "full_attention", "conv"], pad_token_id=0)
    ),
}
"""Models that are run by transformers' own forward, each row by itself."""
PAD, END = 0, 1

QUESTION = tuple(range(5, 25))
OTHER = tuple(range(30, 41))
TURN = tuple(range(20, 32))
PROMPTS = [
    *[QUESTION] * 3,
    (*QUESTION, *TURN, 7),
    (*QUESTION, *TURN, 8, 9),
    (*QUESTION, *TURN, 8, 9),
    *[OTHER] * 2,
    (*OTHER, 1, 0, 1),
    (3, 1, 1, 4),
]
"""Groups, nested beginnings, a row of its own; pad and end tokens in their middle."""
COMPLETIONS = [
    (5, 6, 7, 1),
    (5, 6),
    (9,),
    (1, 1, 0, 4, 8, 15, 16, 23),
    (10, 11, 1),
    (10, 12),
    (2, 3, 4, 5, 6),
    (2, 3, 4, 5, 7),
    (0, 1),
    (1,),
]


def policy_of(kind: str, *, tied: bool = True, lora: bool = False, pad: int = PAD, **options) -> CausalPolicy:
    torch.manual_seed(0)
    model = MODELS[kind](tie_word_embeddings=tied, pad_token_id=pad)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too: at their start nothing would show them
            parameter.add_(torch.randn_like(parameter) * 0.15)
    if lora:
        wrapped: Any = get_peft_model(
            model, LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM"), adapter_name="a"
        )
        with torch.no_grad():
            for name, parameter in wrapped.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        model = wrapped
    tokenizer = tiny_tokenizer(WORDS)
    tokenizer.pad_token_id = pad
    return CausalPolicy(model, tokenizer, frozenset({1}), adapter="a" if lora else None, **options)


def plainly(policy: CausalPolicy) -> PaddedForward:
    return PaddedForward(policy._model, policy._pad_id)


def streams(count: int) -> list[np.random.Generator]:
    return [keyed_generator("row", index) for index in range(count)]


def there(policy: CausalPolicy) -> CausalPolicy:
    """The same policy, built on the pretended GPU."""
    on_gpu(policy._model)
    found = CausalPolicy(
        policy._model,
        policy.tokenizer,
        policy._eos_ids,
        adapter=policy._adapter,
        compute=policy._compute,
        gradient_checkpointing=policy._checkpointing,
    )
    assert found.device.type == "cuda"
    return found
