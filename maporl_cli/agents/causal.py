"""The usual policy: a causal language model of transformers, trained whole or through a LoRA adapter."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from maporl_cli.agents.decoder import unknown
from maporl_cli.agents.forward import Forward
from maporl_cli.agents.models import quiet_checkpointing, quiet_loading
from maporl_cli.agents.padded_forward import PaddedForward
from maporl_cli.agents.policy import Message, Sample, Scored
from maporl_cli.agents.sampling import generate
from maporl_cli.agents.shared_forward import SharedForward


class CausalPolicy:
    """One agent's language model.

    Args:
        model: weights in fp32 (the master weights); shared between agents when `adapter` is given.
        tokenizer: with a chat template and a pad token.
        eos_ids: every id that ends a turn.
        adapter: the name of this agent's LoRA adapter on the shared base; None trains the whole model.
        compute: the dtype of matrix products; the weights stay fp32 and autocast casts around them.
        gradient_checkpointing: recompute activations in the backward pass instead of storing them.

    Attributes:
        plainly: why the model is run by transformers' own forward, each row by itself; None where what rows
            begin with is computed once for all of them.
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
        self.plainly = unknown(model)
        if gradient_checkpointing:
            with quiet_checkpointing():
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._forward = self._run(model)
        self._reference: Any = None
        self._reference_forward: Forward | None = None

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
        with self._active() as forward:
            return generate(
                forward,
                prompts,
                generators,
                eos_ids=self._eos_ids,
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
        """As `Readable` has it. With an adapter, the gradient must be taken before another agent on the same
        base samples or scores: peft lets only the adapter in use learn."""
        with self._active(learning=True) as forward:
            return forward.tell(prompts, completions, temperature, hidden=hidden)

    @torch.no_grad()
    def reference_logprobs(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Tensor:
        with self._frozen_start() as forward:
            return forward.tell(prompts, completions, temperature).logprobs

    def keep_reference(self) -> None:
        if self._adapter is None:  # an adapter starts as zero, so with LoRA the base is the start
            self._reference = copy.deepcopy(self._model).requires_grad_(False)
            self._reference_forward = self._run(self._reference)

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

    @contextmanager
    def _active(self, *, learning: bool = False) -> Iterator[Forward]:
        if self._adapter is not None:
            self._model.set_adapter(self._adapter)
        # transformers checkpoints activations in training mode only, and then refuses a cache.
        # Nothing else changes for models without dropout: Llama, Qwen and SmolLM2 have none, nor has
        # the LoRA of `agents.build`.
        self._model.train(learning and self._checkpointing)
        with torch.autocast(self.device.type, self._compute, enabled=self._compute != torch.float32):
            yield self._forward

    @contextmanager
    def _frozen_start(self) -> Iterator[Forward]:
        with torch.autocast(self.device.type, self._compute, enabled=self._compute != torch.float32):
            if self._adapter is None:
                if self._reference_forward is None:
                    raise RuntimeError("the policy kept no reference; call keep_reference at its start")
                yield self._reference_forward
            else:
                with self._model.disable_adapter():
                    yield self._forward

    def _run(self, model: Any) -> Forward:
        if self.plainly is not None:
            return PaddedForward(model, self._pad_id)
        return SharedForward(model, self._compute)
