"""Rows that begin alike, computed together: what several of them begin with is computed once for all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from maporl_cli.agents.batching import length_mask
from maporl_cli.agents.decoder import Decoder
from maporl_cli.agents.forward import Rows
from maporl_cli.agents.key_value_cache import KeyValueCache, Stored
from maporl_cli.agents.policy import Scored
from maporl_cli.agents.prefix_tree import PrefixTree, prefix_tree
from maporl_cli.agents.replay import Replay
from maporl_cli.agents.tree_attention import tree_attention
from maporl_cli.agents.word_head import logits, tell


class SharedForward:
    """
    Args:
        model: one that `decoder.unknown` has no objection to.
        compute: the dtype of matrix products, where it is not that of the weights.
    """

    def __init__(self, model: Any, compute: torch.dtype) -> None:
        self._decoder = Decoder(model)
        self._compute = compute

    def read(self, prompts: Rows, room: int) -> SharedReading:
        return SharedReading(self._decoder, prompts, room)

    def tell(self, prompts: Rows, completions: Rows, temperature: float, *, hidden: bool = False) -> Scored:
        decoder = self._decoder
        # A row's last token predicts nothing that we have.
        tree = prefix_tree([(*prompt, *said[:-1]) for prompt, said in zip(prompts, completions, strict=True)])
        predicting = [
            tree.places(row)[len(prompt) - 1 :][: len(said)]
            for row, (prompt, said) in enumerate(zip(prompts, completions, strict=True))
        ]
        device = decoder.device
        places = torch.tensor([place for row in predicting for place in row], dtype=torch.long, device=device)
        asked, which = places.unique(return_inverse=True)
        attend = tree_attention(tree, device, decoder.scale)
        states = decoder.run(
            *_packed(tree, device),
            lambda _, query, key, value: attend(query, key, value),
            asked=asked,
        )[which]
        targets = torch.tensor(
            [token for said in completions for token in said], dtype=torch.long, device=device
        )
        dtype = decoder.words.dtype if self._compute == torch.float32 else self._compute
        logprobs, entropy = tell(states, decoder.words, targets, temperature, dtype)
        real = length_mask([len(said) for said in completions], device)
        return Scored(_apart(logprobs, real), _apart(entropy, real), _apart(states, real) if hidden else None)


class SharedReading:
    """The keys and values of what a group of rows begins with are computed and stored once."""

    def __init__(self, decoder: Decoder, prompts: Rows, room: int) -> None:
        self._decoder = decoder
        tree = prefix_tree(prompts)
        device = decoder.device
        attend = tree_attention(tree, device, decoder.scale)
        stored: list[Stored] = []

        def attending(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            stored.append((key, value))
            return attend(query, key, value)

        ids, positions = _packed(tree, device)
        ends = torch.tensor([tree.nodes[leaf].end - 1 for leaf in tree.leaves], device=device)
        hidden = decoder.run(ids, positions, attending, asked=ends)
        self.logits = logits(hidden, decoder.words)
        self._still = device.type == "cuda"
        self._cache = KeyValueCache(tree, stored, room, decoder.scale, still=self._still)
        self._position = positions[ends]
        self._newest = torch.empty_like(self._position)
        self._next = self._start()

    def go_on(self, tokens: Tensor, rows: Tensor | None) -> None:
        if rows is not None:
            del self._next  # with what is recorded, before there is something new
            self._cache.keep(rows)
            self._position, self._newest = self._position[rows], self._newest[rows]
            self._next = self._start()
        self._newest.copy_(tokens)
        self._position += 1
        self._cache.begin()
        self.logits = self._next()

    def _start(self) -> Callable[[], Tensor]:
        """What reads the newest token of each of the rows that there are now."""
        # Not a method of ours: what holds itself is given back only when Python looks for such.
        work = partial(_read_newest, self._decoder, self._newest, self._position, self._cache)
        return Replay(work, self._decoder.device) if self._still else work


def _read_newest(decoder: Decoder, newest: Tensor, position: Tensor, cache: KeyValueCache) -> Tensor:
    """The logits of the next token of each row."""
    return logits(decoder.run(newest, position, cache.attend), decoder.words)


def _packed(tree: PrefixTree, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(tree.ids, device=device), torch.tensor(tree.positions, device=device)


def _apart(values: Tensor, real: Tensor) -> Tensor:
    """(rows, longest, …) of values that come one after the other."""
    empty = values.new_zeros(*real.shape, *values.shape[1:])
    return empty.index_put(real.nonzero(as_tuple=True), values)
