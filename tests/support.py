"""Small real objects that tests share: a word-level tokenizer, tiny policies, questions, episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.agents.stage import Floor
from maporl_cli.agents.tiny import tiny_model, tiny_tokenizer
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Episode, Question, Score, Turn
from maporl_cli.data.duplicates import group_near_duplicates
from maporl_cli.data.partition import Side, Sizes, assign
from maporl_cli.data.splits import strata_of
from maporl_cli.training.experience import Experience
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank
from maporl_cli.training.update import Learner

WORDS = [f"w{index}" for index in range(40)] + ["Answer:", "A", "B", "(A)", "(B)"]


def tiny_policy(seed: int = 0, *, keep_reference: bool = False, **options) -> CausalPolicy:
    tokenizer = tiny_tokenizer(WORDS)
    model = tiny_model(tokenizer, seed)
    # Random tied embeddings like to repeat the last token; larger weights give varied, peaked choices.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3.0)
    policy = CausalPolicy(model, tokenizer, frozenset({int(tokenizer.eos_token_id)}), **options)
    if keep_reference:
        policy.keep_reference()
    return policy


def word_book(names: Sequence[str], **others) -> RoleBook:
    """A book whose seats see the question alone, and end their prompts with a word of their own."""
    return RoleBook(
        name="words",
        roles={name: Role(name, ("question",), f"w{index}") for index, name in enumerate(names)},
        sections={"question": "{}"},
        turn="{text}",
        separator=" ",
        **others,
    )


def equals_finite_differences(
    loss: Callable[[], torch.Tensor], parameters: Iterable[tuple[str, torch.Tensor]]
) -> None:
    """Asserts that the gradient of `loss` is its central difference, at three places of each parameter."""
    loss().backward()
    numbers = np.random.default_rng(0)
    for name, parameter in parameters:
        assert parameter.grad is not None, name
        flat, slopes = parameter.data.view(-1), parameter.grad.view(-1)
        for index in numbers.integers(0, flat.numel(), 3):
            kept, step = flat[index].item(), 1e-6
            with torch.no_grad():
                flat[index] = kept + step
                above = loss().item()
                flat[index] = kept - step
                below = loss().item()
                flat[index] = kept
            assert slopes[index].item() == pytest.approx((above - below) / (2 * step), abs=1e-6), name


def floor(stopping: Callable[[], bool] = lambda: False) -> Floor:
    """The stage of a team that is all here."""
    return Floor(Timeline(), stopping)


def alone(*agents: str) -> OneRank:
    return OneRank(place(agents, 1))


def updated(learner: Learner, experiences: Sequence[Experience]) -> dict[str, float]:
    """A whole update that nobody stops; its metrics."""
    return learner.finish(learner.begin(experiences, lambda: False))


def question(name: str = "q1", answer: str = "A", options: Sequence[str] = ("yes", "no")) -> Question:
    return Question(
        id=name, text=f"text of {name}", options=dict(zip("ABCDEFGHIJ", options, strict=False)), answer=answer
    )


def turn(
    agent: str = "planner", *, round: int = 0, text: str = "", tokens: int = 2, finished: bool = True
) -> Turn:
    return Turn(
        agent=agent,
        round=round,
        prompt_ids=(3, 4, 5),
        token_ids=tuple(range(6, 6 + tokens)),
        logprobs=(-1.0,) * tokens,
        text=text,
        finished=finished,
        policy_version=0,
    )


def scored(turns: Sequence[Turn], total: float, *, task: float | None = None, sample: int = 0) -> Episode:
    value = total if task is None else task
    return Episode(
        question=question(),
        sample=sample,
        step=1,
        turns=list(turns),
        answer="A",
        score=Score(task=value, form=1.0, total=total, components={"accuracy": value}, reasons={}),
    )


@dataclass(frozen=True)
class Pupil:
    """One that learns, on one replica: a nat a token from its start, expecting 1 of each token to come."""

    agent: str

    def summed(self, values: Sequence[float]) -> list[float]:
        return list(values)

    def divergence(self, turns: Sequence[Turn]) -> list[list[float]]:
        return [[1.0] * len(turn.token_ids) for turn in turns]

    def values(self, turns: Sequence[Turn]) -> list[list[float]]:
        return [[float(left) for left in range(len(turn.token_ids), 0, -1)] for turn in turns]


def split_in_memory(
    questions: Sequence[Question], sizes: Sizes, *, seed: int, stratify: str | None = None
) -> tuple[list[Question], list[Question]]:
    """What `maporl data split` does with a file, done with a list."""
    strata = strata_of(questions, stratify) if stratify else None
    sides = assign(group_near_duplicates(questions), sizes, seed=seed, strata=strata)
    train, held_out = (
        [question for question, at in zip(questions, sides, strict=True) if at is side]
        for side in (Side.TRAIN, Side.EVAL)
    )
    return train, held_out
