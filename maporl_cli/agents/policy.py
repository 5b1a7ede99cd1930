"""What the rest of the project may ask of a language model, and nothing more.

A speaker samples turns. A policy is a speaker that learns: it samples turns with their
log-probabilities and scores given ones; how it does so is its own business. A new kind of policy
is one class and one `register_policy` line (`examples/policy_bigram.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from maporl_cli.core.errors import RunFailed


class NotFinite(RunFailed):
    """A policy gave, or would have learned from, something that is NaN or infinite."""

    def __init__(self, what: str, agent: str) -> None:
        super().__init__(
            f"The {what} of the agent {agent!r} is not a finite number.",
            why="an update diverged, or the weights are damaged",
            fix="go back to a checkpoint or model that is whole; if it happens in training again, lower "
            "train.learning_rate or train.max_grad_norm",
        )


class OutOfMemory(RunFailed):
    """An agent's model did not fit beside what it had to hold."""

    def __init__(self, agent: str, phase: str, why: str, lower: str) -> None:
        super().__init__(
            f"There was not enough memory for the agent {agent!r}.",
            where=phase,
            why=why,
            fix=f"lower {lower}; `maporl train --dry-run` shows what each rank needs",
        )


@contextmanager
def memory_errors(agent: str, phase: str, lower: str) -> Generator[None]:
    """Turns torch's out-of-memory errors into `OutOfMemory`.

    Args:
        phase: what the agent was doing.
        lower: the settings that decide how much it takes.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(agent, phase, str(error).splitlines()[0], lower) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # how torch says it on a CPU
            raise
        raise OutOfMemory(agent, phase, str(error).splitlines()[0], lower) from error


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled completion.

    Attributes:
        token_ids: sampled ids, the end-of-turn id included.
        logprobs: nats, under the distribution each id was drawn from; same length. Empty where nobody tells.
        finished: an end-of-turn id was sampled before the limit.
        counted: tokens read and sampled, where the ids are none.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    counted: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What a policy now thinks of given completions; rows are padded on the right.

    Attributes:
        logprobs: (rows, longest completion), nats, with gradient.
        entropy: same shape, of the whole distribution at each position, with gradient.
        hidden: (rows, longest completion, width), with gradient: the last layer's state that each token was
            predicted from. None where it was not asked for.
    """

    logprobs: Tensor
    entropy: Tensor
    hidden: Tensor | None = None


class Speaker(Protocol):
    """Whatever an agent's turns are sampled from."""

    version: int
    """Updates so far; recorded with every turn."""

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and completion may have together."""
        ...

    def encode(self, prompt: str) -> tuple[int, ...]:
        """Token ids of `prompt` as a user message, ready for the policy's turn to begin."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a turn, special tokens removed."""
        ...

    def sample(
        self,
        prompts: Sequence[tuple[int, ...]],
        generators: Sequence[np.random.Generator | None],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Sample]:
        """One completion a prompt; a row whose generator is None takes the most likely tokens."""
        ...


class Policy(Speaker, Protocol):
    """The language model that an agent samples from, and that learns."""

    def encode_turn(self, text: str) -> tuple[int, ...]:
        """Token ids of a whole turn, its end included: for demonstrations, never for what was sampled."""
        ...

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Scored:
        """Log-probabilities of exactly these completions under the distribution that `sample` draws from."""
        ...

    def reference_logprobs(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
    ) -> Tensor:
        """As `score(...).logprobs`, under the weights that `keep_reference` kept, without gradient."""
        ...

    def keep_reference(self) -> None:
        """Keep the present weights as the frozen start, which the KL term compares with."""
        ...

    def trainable(self) -> Mapping[str, torch.nn.Parameter]:
        """The parameters that learn, by a name that is stable over runs."""
        ...

    def save(self, directory: Path) -> None:
        """Write the policy so that plain `transformers` (or `peft`) loads it."""
        ...


@runtime_checkable
class Readable(Policy, Protocol):
    """A policy whose hidden states a value head can read. A plug-in need not be one."""

    @property
    def hidden_width(self) -> int:
        """How many numbers a hidden state has."""
        ...

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
        hidden: bool = False,
    ) -> Scored:
        """As any policy's; with `hidden`, the hidden states as well."""
        ...


Message = tuple[Literal["system", "user", "assistant"], str]
"""Who says what in a talk, as chat templates have it."""


@runtime_checkable
class Converser(Speaker, Protocol):
    """A speaker that can be told a whole talk before its turn. A plug-in need not be one."""

    def encode_talk(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of a talk that ends with a user's message, ready for the speaker's turn to begin."""
        ...


@runtime_checkable
class PlainReader(Policy, Protocol):
    """A policy that reads text as it stands, outside of any talk. A plug-in need not be one."""

    def encode_plain(self, text: str) -> tuple[int, ...]:
        """Token ids of `text` as the tokenizer itself begins a document: no chat template around it."""
        ...


PolicyBuilder = Callable[[str], Policy]
"""Builds the policy of the agent of the given name."""

_PLUGINS: dict[str, PolicyBuilder] = {}


def register_policy(model_name: str, builder: PolicyBuilder) -> None:
    """Make `model.name: <model_name>` build its policies with `builder`."""
    _PLUGINS[model_name] = builder


def plugin_policy(model_name: str) -> PolicyBuilder | None:
    """The builder registered for `model_name`, if any."""
    return _PLUGINS.get(model_name)
