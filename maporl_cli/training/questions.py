"""Which questions a step trains on: a pure function of the step, so that the data cursor *is* the step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Question


def total_steps(config: TrainConfig, questions: int) -> int:
    """Steps of a run: `max_steps`, else as many as `num_epochs` passes over the questions take."""
    if config.max_steps is not None:
        return config.max_steps
    return -(-config.num_epochs * questions // config.batch_size)


def question_batch(questions: Sequence[Question], step: int, batch_size: int, seed: int) -> list[Question]:
    """The questions of a step (counted from 1).

    Epoch after epoch in a fresh order, each keyed by (seed, epoch); a batch that reaches the end
    of one epoch goes on with the next, so every question comes equally often.
    """
    first = (step - 1) * batch_size
    return [_at(questions, place, seed) for place in range(first, first + batch_size)]


def _at(questions: Sequence[Question], place: int, seed: int) -> Question:
    epoch, offset = divmod(place, len(questions))
    return questions[int(_order(len(questions), epoch, seed)[offset])]


@lru_cache(maxsize=2)
def _order(count: int, epoch: int, seed: int) -> NDArray[np.int64]:
    return keyed_generator("epoch", seed, epoch).permutation(count)
