"""The usual policy: a causal language model of transformers, trained whole or through a LoRA adapter."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from maporl_cli.agents.batching import pad_left
from maporl_cli.agents.models import quiet_checkpointing, quiet_loading
from maporl_cli.agents.policy import Message, Sample, Scored
from maporl_cli.agents.sampling import generate


class CausalPolicy:
    """One agent's language model.

    Args:
        model: weights in fp32 (the master weights); shared between agents when `adapter` is given.
        tokenizer: with a chat template and a pad token.
        eos_ids: every id that ends a turn.
        adapter: the name of this agent's LoRA adapter on the shared base; None trains the whole model.
        compute: the dtype of matrix products; the weights stay fp32 and autocast casts around them.
        gradient_checkpointing: recompute activations in the backward pass instead of storing them.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        eos_ids: frozenset[int],
        *,
        adapter: str | None = None,
        compute: torch.dtype = torch.float32,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.version = 0
        # Their stubs promise less than they do: a PeftModel forwards like the model it wraps.
        self._model: Any = model
        self.tokenizer: Any = tokenizer
        self._eos_ids = eos_ids
        self._adapter = adapter
        self._compute = compute
        self._checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            with quiet_checkpointing():
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._reference: Any = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._model.device

    @property
    def context_length(self) -> int:
        return int(self._model.config.max_position_embeddings)

    @property
    def hidden_width(self) -> int:
        return int(self._model.get_output_embeddings().in_features)

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    def encode(self, prompt: str) -> tuple[int, ...]:
        return self.encode_talk([("user", prompt)])

    def encode_talk(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """A chat template that knows no system role, as Gemma's, is told the others' messages only."""
        try:
            return self._templated(messages)
        except TemplateError:
            others = [message for message in messages if message[0] != "system"]
            if len(others) == len(messages):
                raise
            return self._templated(others)

    def _templated(self, messages: Sequence[Message]) -> tuple[int, ...]:
        ids = self.tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        return tuple(ids)

    def encode_turn(self, text: str) -> tuple[int, ...]:
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return (*ids, int(self.tokenizer.eos_token_id))

    def encode_plain(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text))

    def decode(self, token_ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True).strip()

    def sample(
        self,
        prompts: Sequence[tuple[int, ...]],
        generators: Sequence[np.random.Generator | None],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Sample]:
        with self._active() as model:
            return generate(
                model,
                prompts,
                generators,
                eos_ids=self._eos_ids,
                pad_id=self._pad_id,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
            )

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
        hidden: bool = False,
    ) -> Scored:
        with self._active(learning=True) as model, _heard(model) if hidden else nullcontext([]) as states:
            logprobs = self._forward(model, prompts, completions, temperature)
        chosen = self._pick(logprobs, completions)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        return Scored(
            _align_left(chosen, completions),
            _align_left(entropy, completions),
            _align_left(states[0][:, :-1], completions) if hidden else None,
        )

    @torch.no_grad()
    def reference_logprobs(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Tensor:
        with self._frozen_start() as model:
            logprobs = self._forward(model, prompts, completions, temperature)
        return _align_left(self._pick(logprobs, completions), completions)

    def keep_reference(self) -> None:
        if self._adapter is None:  # an adapter starts as zero, so with LoRA the base is the start
            self._reference = copy.deepcopy(self._model).requires_grad_(False)

    def trainable(self) -> Mapping[str, torch.nn.Parameter]:
        if self._adapter is None:
            return dict(self._model.named_parameters())
        # With peft's own part of the name: an agent may be called `model`, as parts of the base are.
        marks = {f".lora_{side}.{self._adapter}.": f".lora_{side}." for side in "AB"}
        return {
            name.replace(mark, plain): parameter
            for name, parameter in self._model.named_parameters()
            for mark, plain in marks.items()
            if mark in name
        }

    def save(self, directory: Path) -> None:
        with quiet_loading():
            if self._adapter is None:
                # transformers lets only rank 0 of a process group save; here each rank has its own agents.
                self._model.should_save_on_this_rank = lambda is_main_process: is_main_process
                self._model.save_pretrained(directory)
            else:
                self._model.save_pretrained(directory, selected_adapters=[self._adapter])
                nested = directory / self._adapter  # peft nests every adapter but "default"
                for path in nested.iterdir():
                    path.rename(directory / path.name)
                nested.rmdir()
            self.tokenizer.save_pretrained(directory)

    def _forward(
        self,
        model: Any,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        temperature: float,
    ) -> Tensor:
        """(rows, longest completion, vocabulary) log-probabilities, aligned to the right."""
        rows = [(*prompt, *completion) for prompt, completion in zip(prompts, completions, strict=True)]
        batch = pad_left(rows, self._pad_id, self.device)
        longest = max(map(len, completions))
        logits = model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
            logits_to_keep=longest + 1,
        ).logits
        # Half precision is lifted to fp32 for the softmax; float64 stays what it is.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # The logits at a token predict the next one: the last column predicts nothing we have.
        return (logits[:, :-1] / temperature).log_softmax(-1)

    def _pick(self, logprobs: Tensor, completions: Sequence[tuple[int, ...]]) -> Tensor:
        """(rows, longest completion): the log-probability of each token of the completions, right-aligned."""
        targets = pad_left(completions, self._pad_id, self.device)
        return logprobs.gather(-1, targets.ids.unsqueeze(-1)).squeeze(-1)

    @contextmanager
    def _active(self, *, learning: bool = False) -> Iterator[Any]:
        if self._adapter is not None:
            self._model.set_adapter(self._adapter)
        # transformers checkpoints activations in training mode only, and then refuses a cache.
        # Nothing else changes for models without dropout: Llama, Qwen and SmolLM2 have none, nor has
        # the LoRA of `agents.build`.
        self._model.train(learning and self._checkpointing)
        with torch.autocast(self.device.type, self._compute, enabled=self._compute != torch.float32):
            yield self._model

    @contextmanager
    def _frozen_start(self) -> Iterator[Any]:
        with torch.autocast(self.device.type, self._compute, enabled=self._compute != torch.float32):
            if self._adapter is None:
                if self._reference is None:
                    raise RuntimeError("the policy kept no reference; call keep_reference at its start")
                yield self._reference
            else:
                with self._model.disable_adapter():
                    yield self._model


@contextmanager
def _heard(model: Any) -> Iterator[list[Tensor]]:
    """What the layer that predicts words reads in each forward pass meanwhile, whatever the architecture."""
    states: list[Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: states.append(given[0]))
    try:
        yield states
    finally:
        hook.remove()


def _align_left(values: Tensor, completions: Sequence[Sequence[int]]) -> Tensor:
    """(rows, longest, …): each row's completion moved from the right end to the left."""
    longest = values.shape[1]
    shift = torch.tensor([longest - len(completion) for completion in completions], device=values.device)
    index = (torch.arange(longest, device=values.device).unsqueeze(0) + shift.unsqueeze(1)).clamp(
        max=longest - 1
    )
    return values.take_along_dim(index.reshape(*index.shape, *[1] * (values.dim() - 2)), 1)
