"""Random numbers that belong to a place in the data, not to a process or to call order.

Every draw is keyed by (seed, step, question, sample, round, agent), so that a seed gives the
same episodes on any number of ranks, in any batch, and after any resume. Nothing in the
project consumes a global random state, which is why no checkpoint needs to store one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from maporl_cli.core.types import Episode, Question


def keyed_generator(*key: int | str) -> np.random.Generator:
    """A generator that depends on `key` alone; different keys give independent streams."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


class Draws(Protocol):
    """How the next token is chosen in a turn."""

    def generator(self, episode: Episode, round: int, agent: str) -> np.random.Generator | None:
        """The turn's own stream of uniform numbers, or None to take the most likely token."""
        ...


class Greedy:
    """Always the most likely token."""

    def generator(self, episode: Episode, round: int, agent: str) -> np.random.Generator | None:
        return None


@dataclass(frozen=True, slots=True)
class Sampled:
    """Sampling from the policy's distribution, keyed by the turn's place."""

    seed: int

    def generator(self, episode: Episode, round: int, agent: str) -> np.random.Generator | None:
        return keyed_generator(
            "turn", self.seed, episode.step, episode.question.id, episode.sample, round, agent
        )


def shuffle_options(question: Question, seed: int, step: int) -> Question:
    """The question with its options in the order of this (step, question), relabelled A, B, …

    A group shares the order, and no policy can learn that one letter is right more often.
    """
    if not question.options:
        return question
    letters = list(question.options)
    order = keyed_generator("options", seed, step, question.id).permutation(len(letters))
    options = {letters[place]: question.options[letters[old]] for place, old in enumerate(order)}
    if not question.has_gold:
        return replace(question, options=options)
    gold = letters[int(np.flatnonzero(order == letters.index(question.answer))[0])]
    return replace(question, options=options, answer=gold)
