"""Llama, Qwen2 and Qwen3, run over tokens without padding.

The weights, the projections (with whatever adapter peft has put into them), the rotations and the word
embeddings are the model's own modules of transformers. Only the order of the work is ours: tokens come as one
packed row, and what each of them sees is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, functional
from torch.utils.checkpoint import checkpoint
from transformers import LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

_KNOWN = (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
_ATTENTION = (LlamaAttention, Qwen2Attention, Qwen3Attention)
_ROTATIONS_OF_THE_BATCH = ("dynamic", "longrope")
"""Kinds of rotation that depend on the longest row that a token happens to be computed with."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""From a layer's number, queries (tokens, heads, width), keys and values (tokens, key-value heads, width) to
what each token makes of what it sees, as the queries."""


def plain_model(model: Any) -> Any:
    """The model of transformers that peft has put adapters into, or that it is itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def unknown(model: Any) -> str | None:
    """Why a model cannot be run by `Decoder`; None: it can."""
    base = plain_model(model)
    if type(base) not in _KNOWN:
        return f"{type(base).__name__} is no {', '.join(known.__name__ for known in _KNOWN)}"
    config, head, layers = base.config, base.get_output_embeddings(), base.model.layers
    if any(kind.is_prompt_learning for kind in getattr(model, "peft_config", {}).values()):
        return "peft puts more into it than adapters of its matrices"
    if len(layers) != config.num_hidden_layers:
        return f"its config has {config.num_hidden_layers} of its {len(layers)} layers"
    if any(type(layer.self_attn) not in _ATTENTION for layer in layers):
        return "the attention of its layers is somebody's own"
    passed_by = [base, base.model, base.model.norm, head, *layers]
    passed_by += [part for layer in layers for part in (layer.self_attn, layer.mlp, *_norms(layer))]
    if any(part._forward_hooks or part._forward_pre_hooks for part in passed_by):
        return "hooks listen to it"
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return "some of its layers see a sliding window"
    if config.attention_dropout:
        return "its attention has dropout"
    if config.rope_parameters.get("rope_type", "default") in _ROTATIONS_OF_THE_BATCH:
        kind = config.rope_parameters["rope_type"]
        return f"its rotations, {kind}, depend on the longest row beside a row, and so do its scores"
    if type(head) is not Linear or head.bias is not None:
        return "its last layer is no plain matrix"
    return None


def _norms(layer: Any) -> tuple[Any, Any]:
    return layer.input_layernorm, layer.post_attention_layernorm


class Decoder:
    """A model that `unknown` has no objection to.

    Attributes:
        scale: of the products of queries and keys.
        words: (vocabulary, width), the matrix that predicts words.
    """

    def __init__(self, model: Any) -> None:
        base = plain_model(model)
        self._inner = base.model
        self._width: int = base.model.layers[0].self_attn.head_dim
        self.scale: float = self._width**-0.5
        self.words: Tensor = base.get_output_embeddings().weight

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.words.device

    def run(
        self,
        ids: Tensor,
        positions: Tensor,
        attend: Attend,
        *,
        asked: Tensor | None = None,
    ) -> Tensor:
        """(tokens, width): what the layer that predicts words reads at each token.

        In training mode, which `CausalPolicy` sets where it checkpoints, each layer's input alone is kept and
        the layer is computed anew for the backward pass.

        Args:
            ids, positions: (tokens,), a token and its place in its own row.
            asked: the places to tell of, if not all; of the others the last layer gives keys and values.
        """
        flow: Tensor = self._inner.embed_tokens(ids)
        cos, sin = (part[0].unsqueeze(1) for part in self._inner.rotary_emb(flow, positions.unsqueeze(0)))
        last, anew = len(self._inner.layers) - 1, self._inner.training
        for number, layer in enumerate(self._inner.layers):
            given = (number, layer, flow, cos, sin, attend, asked if number == last else None)
            flow = checkpoint(self._layer, *given, use_reentrant=False) if anew else self._layer(*given)
        return _norm(self._inner.norm, flow)

    def _layer(
        self,
        number: int,
        layer: Any,
        flow: Tensor,
        cos: Tensor,
        sin: Tensor,
        attend: Attend,
        asked: Tensor | None,
    ) -> Tensor:
        attention, mlp = layer.self_attn, layer.mlp
        read = _norm(layer.input_layernorm, flow)
        query, key, value = (
            project(read).unflatten(-1, (-1, self._width))
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):  # Qwen3
            query, key = _norm(attention.q_norm, query), _norm(attention.k_norm, key)
        # Under autocast the rotation lifts to fp32; values show what the products are to be taken in.
        query, key = (_rotated(part, cos, sin).to(value.dtype) for part in (query, key))
        seen = attend(number, query, key, value).flatten(1)
        if asked is not None:
            seen, flow = seen[asked], flow[asked]
        flow = flow + attention.o_proj(seen)
        read = _norm(layer.post_attention_layernorm, flow)
        return flow + mlp.down_proj(mlp.act_fn(mlp.gate_proj(read)) * mlp.up_proj(read))


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = states.chunk(2, -1)
    return states * cos + torch.cat((-second, first), -1) * sin


def _norm(module: Any, states: Tensor) -> Tensor:
    # Heads come in half precision under autocast; torch's fused norm wants the weight's dtype.
    states = states.to(module.weight.dtype)
    return functional.rms_norm(states, states.shape[-1:], module.weight, module.variance_epsilon)
