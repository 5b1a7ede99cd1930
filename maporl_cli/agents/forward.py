"""How a policy's model is run: what sampling and scoring ask of it.

Two classes do it. `shared_forward` computes what rows begin with once for all of them, in the architectures
that it knows; `padded_forward` runs any causal model of transformers, each row by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from maporl_cli.agents.policy import Scored

Rows = Sequence[tuple[int, ...]]
"""Token ids, a row an item."""


class Reading(Protocol):
    """Prompts that have been read and are written on, a token a row a step."""

    logits: Tensor
    """(rows, vocabulary), of each row's next token."""

    def go_on(self, tokens: Tensor, rows: Tensor | None) -> None:
        """Reads the next token of each row, and has `logits` for the one after it.

        Args:
            tokens: (rows,), of the rows that go on.
            rows: which of the rows so far those are, in their order; None: all.
        """
        ...


class Forward(Protocol):
    """One model, ready to be run."""

    def read(self, prompts: Rows, room: int) -> Reading:
        """Prompts, each of which `room` tokens may follow; without gradient."""
        ...

    def tell(self, prompts: Rows, completions: Rows, temperature: float, *, hidden: bool = False) -> Scored:
        """What the model thinks of exactly these completions at a temperature."""
        ...
