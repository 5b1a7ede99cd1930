"""Adds a policy that is no transformer: a table of which word follows which.

Run it; with 100 numbers an agent, a step takes a fraction of a second:

    maporl train --preset smollm2 --set data.train=triage --set model.name=bigram \
        --set 'run.plugins=[examples/policy_bigram.py, examples/benchmark_triage.py]'

A bigram model draws each word from a distribution that depends on the word before it and on nothing
else. So it cannot read a question, and its team stays at chance: what it can learn is to end its turns
and to name exactly one option. It is here to show all that the trainer asks of a policy, which is the
protocol `maporl_cli.agents.policy.Policy`; a recurrent network or a hosted model would implement the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from maporl_cli.agents.batching import pad_right
from maporl_cli.agents.policy import Sample, Scored, register_policy
from maporl_cli.agents.sampling import choose

WORDS = ("<end>", "I", "agree", "doubt", "Answer:", "(A)", "(B)", "(C)", "(D)", "(E)")
END = 0  # ends a turn, and stands before it, so that the first word has one before it too


class Bigram:
    """One agent's table; `table[i, j]` is the logit of word j after word i."""

    context_length = sys.maxsize  # only the last word of a prompt matters, however long it is

    def __init__(self) -> None:
        self.version = 0
        # All zeros is the uniform distribution: every word after every word, equally likely.
        self.table = torch.nn.Parameter(torch.zeros(len(WORDS), len(WORDS)))
        self._start = self.table.detach().clone()

    def encode(self, prompt: str) -> tuple[int, ...]:
        """The words it knows, in order; it is deaf to the others. Its turn begins after the last one."""
        return (END, *self._ids(prompt))

    def encode_turn(self, text: str) -> tuple[int, ...]:
        return (*self._ids(text), END)

    def decode(self, token_ids: Sequence[int]) -> str:
        return " ".join(WORDS[token] for token in token_ids if token != END)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[tuple[int, ...]],
        generators: Sequence[np.random.Generator | None],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Sample]:
        logprobs = _logprobs(self.table, temperature)
        # The t-th word of a turn is drawn with the t-th number of the turn's own generator, so it
        # is the same in any batch. NaN is the sign to take the likeliest word.
        greedy = np.full(max_new_tokens, np.nan)
        numbers = [greedy if own is None else own.random(max_new_tokens) for own in generators]
        word = torch.tensor([prompt[-1] for prompt in prompts])
        drawn: list[Tensor] = []
        chosen: list[Tensor] = []
        for uniforms in torch.tensor(np.stack(numbers, axis=1)):
            before, word = word, choose(logprobs[word], uniforms)
            drawn.append(word)
            chosen.append(logprobs[before, word])
        rows = zip(torch.stack(drawn, 1).tolist(), torch.stack(chosen, 1).tolist(), strict=True)
        return [_turn(words, values) for words, values in rows]

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Scored:
        return _score(self.table, prompts, completions, temperature)

    def reference_logprobs(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Tensor:
        return _score(self._start, prompts, completions, temperature).logprobs

    def keep_reference(self) -> None:
        """What the KL term compares with from now on."""
        self._start = self.table.detach().clone()

    def trainable(self) -> Mapping[str, torch.nn.Parameter]:
        """What the optimizer changes and what checkpoints hold, by name: resuming needs no more."""
        return {"table": self.table}

    def save(self, directory: Path) -> None:
        """Write the table and its words. Plain `transformers` cannot load them: it has no such model."""
        save_file({"table": self.table.detach()}, directory / "model.safetensors")
        (directory / "words.json").write_text(json.dumps(WORDS))

    @staticmethod
    def _ids(text: str) -> list[int]:
        return [WORDS.index(word) for word in text.split() if word in WORDS[1:]]


def _logprobs(table: Tensor, temperature: float) -> Tensor:
    """(before, word) log-probabilities: the one distribution that is sampled, scored and trained."""
    return (table / temperature).log_softmax(-1)


def _turn(words: list[int], logprobs: list[float]) -> Sample:
    """What was drawn for a turn, up to its end; all of it where it was cut before that."""
    length = words.index(END) + 1 if END in words else len(words)
    return Sample(tuple(words[:length]), tuple(logprobs[:length]), finished=END in words)


def _score(
    table: Tensor,
    prompts: Sequence[tuple[int, ...]],
    completions: Sequence[tuple[int, ...]],
    temperature: float,
) -> Scored:
    pairs = zip(prompts, completions, strict=True)
    before = pad_right([(prompt[-1], *completion[:-1]) for prompt, completion in pairs], END, torch.long)
    words = pad_right(completions, END, torch.long)
    logprobs = _logprobs(table, temperature)[before]  # (rows, longest, vocabulary)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return Scored(logprobs.gather(-1, words.unsqueeze(-1)).squeeze(-1), entropy)


register_policy("bigram", lambda agent: Bigram())
