"""What a policy is made of, without its weights: the model that `agents.build` would build, on no device.

The model is made on torch's `meta` device, where tensors have shapes and no content, so that the
numbers of parameters are those of the real one, whatever its architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from maporl_cli.agents.build import (
    TINY,
    cold_starts_of,
    compute_dtype,
    default_device,
    model_of,
    tiny_words,
    with_adapters,
)
from maporl_cli.agents.models import resolve
from maporl_cli.agents.policy import plugin_policy
from maporl_cli.agents.tiny import tiny_model
from maporl_cli.core.config import AgentConfig, Config
from maporl_cli.core.errors import MissingError

_FP32 = torch.float32.itemsize


@dataclass(frozen=True, slots=True)
class Blueprint:
    """The policy of one agent.

    Attributes:
        model: its name in the config.
        lora: whether an adapter learns, on a frozen base, and not the whole model.
        shared_bytes: bytes of what all agents of the model on a rank share: the frozen base; 0 without LoRA.
        own_bytes: bytes of what each agent has for itself: the model in fp32, or its adapter.
        learning: parameters that learn, all of them in fp32.
        learning_tensors: how many tensors they are in.
        cast: those of them that autocast copies to half precision for matrix products; 0 in fp32.
        compute: bytes of a number in matrix products: 4 in fp32, 2 in half precision.
        tied: whether the matrix that reads words also predicts them.
        layers, hidden, intermediate, heads, key_value_heads, head_width, vocabulary, context: the
            model's shape; `intermediate` is the width of the MLP, `context` the most tokens it can hold.
        normed_heads: whether queries and keys have norms of their own, as in Qwen3.
        rank: of the adapter's matrices; 0 without LoRA.
        copying: whether attention copies the keys and values of every row to every head, as on a GPU.
    """

    model: str
    lora: bool
    shared_bytes: int
    own_bytes: int
    learning: int
    learning_tensors: int
    cast: int
    compute: int
    tied: bool
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    context: int
    normed_heads: bool
    rank: int
    copying: bool


def blueprints(config: Config) -> dict[str, Blueprint]:
    """The blueprint of each policy of the team, by its model's name. Nothing is downloaded.

    Raises:
        ConfigError: `tiny` without a vocabulary, or with LoRA.
        MissingError: a model's files are not on this machine, or a plug-in keeps to itself what it builds.
    """
    seats = {model_of(seat, config): seat for seat in config.team.agents}
    return {name: _blueprint(config, seat, name) for name, seat in seats.items()}


def draw(model: PreTrainedModel, config: Config, seat: AgentConfig, name: str) -> Blueprint:
    """The blueprint of a policy around a model on any device, whose weights are in the dtype of `build`.

    Args:
        model: becomes the frozen base where the config says LoRA.
        name: what the config calls it.
    """
    shape: Any = model.config.get_text_config()
    lora = config.model.finetune == "lora"
    compute = planned_dtype(config).itemsize
    shared = _bytes(model) if lora else 0
    policy: nn.Module = with_adapters(model, config, [seat]) if lora else model
    learning = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    products = {
        id(parameter): parameter.numel()
        for module in policy.modules()
        if isinstance(module, nn.Linear)
        for parameter in module.parameters(recurse=False)
        if parameter.requires_grad
    }
    words = getattr(model.get_output_embeddings(), "weight", None)
    hidden, heads = shape.hidden_size, shape.num_attention_heads
    return Blueprint(
        model=name,
        lora=lora,
        shared_bytes=shared,
        own_bytes=_bytes(policy) - shared,
        learning=sum(parameter.numel() for parameter in learning),
        learning_tensors=len(learning),
        cast=sum(products.values()) if compute < _FP32 else 0,
        compute=compute,
        tied=words is not None and words is model.get_input_embeddings().weight,
        layers=shape.num_hidden_layers,
        hidden=hidden,
        intermediate=getattr(shape, "intermediate_size", None) or 4 * hidden,
        heads=heads,
        key_value_heads=getattr(shape, "num_key_value_heads", None) or heads,
        head_width=getattr(shape, "head_dim", None) or hidden // heads,
        vocabulary=shape.vocab_size,
        context=shape.max_position_embeddings,
        normed_heads=any(name.endswith("q_norm.weight") for name, _ in model.named_parameters()),
        rank=config.model.lora_r if lora else 0,
        copying=default_device().type != "cpu",
    )


def planned_dtype(config: Config) -> torch.dtype:
    """The dtype of matrix products; fp16 also where there is no GPU, which a plan need not have yet."""
    if config.model.dtype == "fp16":
        return torch.float16
    return compute_dtype(config.model.dtype, default_device())


def _blueprint(config: Config, seat: AgentConfig, name: str) -> Blueprint:
    if plugin_policy(name) is not None:
        raise MissingError(
            f"Only its plug-in knows how much memory the policy {name!r} takes.",
            fix="train one step (--set train.max_steps=1), and watch the memory of the process",
        )
    if name == TINY:
        source = cold_starts_of(config)
        words: Sequence[str] | None = None if source is None else source.vocabulary()
        tokenizer = tiny_words(config, words)
        with torch.device("meta"):
            model: PreTrainedModel = tiny_model(tokenizer, config.run.seed)
        return draw(model, config, seat, name)
    dtype = planned_dtype(config) if config.model.finetune == "lora" else torch.float32
    shape = _shape_of(name)
    with torch.device("meta"):
        return draw(AutoModelForCausalLM.from_config(shape, dtype=dtype), config, seat, name)


def _shape_of(name: str) -> PretrainedConfig:
    path = resolve(name, offline=True)
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:  # transformers lets errors of every kind through for a file that it can't use
        raise MissingError(
            "The model's config.json cannot be used.",
            where=str(path),
            why=str(error).strip().partition("\n")[0],
            fix="bring the model's files again, or choose another model",
        ) from error


def _bytes(module: nn.Module) -> int:
    """Bytes of its parameters and buffers; what two of its parts share counts once."""
    return _size(module.parameters()) + _size(module.buffers())


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
