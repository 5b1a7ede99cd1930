"""Adds a benchmark: which of four patients has the highest heart rate, breathing rate or blood pressure?

Run it with a model that can read:

    maporl train --preset smollm2 --set 'run.plugins=[examples/benchmark_triage.py]' --set data.train=triage

Nothing can be known by heart: the readings are drawn at random, so only reading the chart helps. And
only the analyst sees the chart (`Question.context`; see the roles of the guide book), so the reporter
has to listen. The evaluation wards hold patients who never lie together in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

from numpy.random import Generator

from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import register_benchmark

PATIENTS = ("Abara", "Berg", "Costa", "Dufour", "Eriksen", "Fofana", "Garcia", "Haddad", "Ito", "Jansen")
WARD = 4  # patients in a question
SIGNS = {"heart rate": (50, 150), "breathing rate": (8, 40), "systolic pressure": (80, 200)}
TRAINING, EVALUATION = 2000, 400  # questions

Side = Literal["train", "eval"]


def side_of(ward: Sequence[str]) -> Side:
    """Where these patients meet. It depends on who they are alone, so no seed ever mixes the sides."""
    return "eval" if keyed_generator("ward", *ward).random() < 0.2 else "train"


WARDS: dict[Side, list[tuple[str, ...]]] = {
    side: [ward for ward in combinations(PATIENTS, WARD) if side_of(ward) == side]
    for side in ("train", "eval")
}


class Triage:
    """The benchmark; `data.train=triage` names it."""

    name = "triage"
    roles = "guide"

    def train(self, seed: int) -> Iterator[Question]:
        return _questions("train", seed, TRAINING)

    def evaluation(self, seed: int) -> Iterator[Question]:
        return _questions("eval", seed, EVALUATION)

    def bounds(self, seed: int) -> Mapping[str, float]:
        """Optional. Without the chart a team guesses; with it every question can be answered."""
        return {"chance": 1 / WARD, "perfect_team": 1.0}


def _questions(side: Side, seed: int, count: int) -> Iterator[Question]:
    """`count` independent draws, so that any first part of them is a fair sample of all."""
    # Keyed by side: training on more questions never changes which ones judge it.
    numbers = keyed_generator("triage", side, seed)
    for index in range(count):
        ward = WARDS[side][numbers.integers(len(WARDS[side]))]
        yield _question(f"triage-{side}-{seed}-{index}", ward, numbers)


def _question(name: str, ward: Sequence[str], numbers: Generator) -> Question:
    # Without replacement: no two patients share a reading, so one of them has the highest.
    readings = {
        sign: dict(zip(ward, (low + numbers.choice(high - low, WARD, replace=False)).tolist(), strict=True))
        for sign, (low, high) in SIGNS.items()
    }
    asked = str(numbers.choice(list(SIGNS)))
    chart = [
        f"{patient}: " + ", ".join(f"{sign} {readings[sign][patient]}" for sign in SIGNS) for patient in ward
    ]
    options = dict(zip("ABCD", ward, strict=True))
    highest = max(options, key=lambda letter: readings[asked][options[letter]])
    return Question(
        id=name,
        text=f"Which patient has the highest {asked}?",
        options=options,
        answer=highest,
        context=". ".join(chart) + ".",
        labels={"question_type": asked},  # evaluations can be broken down by it
    )


register_benchmark(Triage())
