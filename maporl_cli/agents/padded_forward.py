"""Any causal language model of transformers, by its own forward: rows in a rectangle, padded on the left."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from maporl_cli.agents.batching import pad_left
from maporl_cli.agents.forward import Rows
from maporl_cli.agents.policy import Scored


class PaddedForward:
    """
    Args:
        model: a causal model of transformers, or one of them that peft has wrapped.
        pad_id: what fills shorter rows; any id would do, masks come from lengths alone.
    """

    def __init__(self, model: Any, pad_id: int) -> None:
        self._model = model
        self._pad_id = pad_id

    def read(self, prompts: Rows, room: int) -> PaddedReading:
        return PaddedReading(self._model, prompts, self._pad_id)

    def tell(self, prompts: Rows, completions: Rows, temperature: float, *, hidden: bool = False) -> Scored:
        rows = [(*prompt, *completion) for prompt, completion in zip(prompts, completions, strict=True)]
        batch = pad_left(rows, self._pad_id, self._model.device)
        longest = max(map(len, completions))
        with _heard(self._model) if hidden else nullcontext([]) as states:
            logits = self._model(
                input_ids=batch.ids,
                attention_mask=batch.mask,
                position_ids=batch.positions,
                use_cache=False,
                logits_to_keep=longest + 1,
            ).logits
        # Half precision is lifted to fp32 for the softmax; float64 stays what it is.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # The logits at a token predict the next one: the last column predicts nothing we have.
        logprobs = (logits[:, :-1] / temperature).log_softmax(-1)
        targets = pad_left(completions, self._pad_id, self._model.device)
        chosen = logprobs.gather(-1, targets.ids.unsqueeze(-1)).squeeze(-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        return Scored(
            _align_left(chosen, completions),
            _align_left(entropy, completions),
            _align_left(states[0][:, :-1], completions) if hidden else None,
        )


class PaddedReading:
    """Identical prompts (a group at the same state) are read once and their cache is copied, and rows that
    have ended leave the batch; not where the model keeps what no row has alone, as of a convolution."""

    def __init__(self, model: Any, prompts: Rows, pad_id: int) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config)
        self._in_rows = all(hasattr(layer, "batch_select_indices") for layer in self._cache.layers)
        distinct = list(dict.fromkeys(prompts)) if self._in_rows else list(prompts)
        batch = pad_left(distinct, pad_id, model.device)
        self.logits = self._run(batch.ids, batch.mask, batch.positions)
        self._mask, self._position = batch.mask, batch.positions[:, -1:]
        self._at = torch.arange(len(distinct), device=model.device)
        """Where in the batch each row is."""
        if len(distinct) < len(prompts):
            place = {prompt: index for index, prompt in enumerate(distinct)}
            rows = torch.tensor([place[prompt] for prompt in prompts], device=model.device)
            self.logits = self.logits[rows]
            self._select(rows)

    def go_on(self, tokens: Tensor, rows: Tensor | None) -> None:
        if rows is not None:
            self._select(self._at[rows])
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        self._position = self._position + 1
        ids = tokens.new_zeros(len(self._mask)).index_put(
            (self._at,), tokens
        )  # what has ended reads anything
        self.logits = self._run(ids.unsqueeze(1), self._mask, self._position)[self._at]

    def _select(self, rows: Tensor) -> None:
        """Goes on with some rows of the batch, which stay in it with all others where none can leave."""
        self._at = rows
        if self._in_rows:
            self._cache.batch_select_indices(rows)
            self._mask, self._position = self._mask[rows], self._position[rows]
            self._at = torch.arange(len(rows), device=rows.device)

    def _run(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        out = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]


@contextmanager
def _heard(model: Any) -> Generator[list[Tensor]]:
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
