"""Playing a team on questions it does not learn from, and counting what it got right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from maporl_cli.agents.answers import is_correct
from maporl_cli.agents.stage import stopped
from maporl_cli.core.atomic import append_line
from maporl_cli.core.errors import DataError, Interrupted
from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode, Question
from maporl_cli.evaluation.statistics import wilson
from maporl_cli.training.ranks import Ranks, share_of


class Player(Protocol):
    """Whatever answers questions: a team, one agent alone, a stand-in for either."""

    def play_all(
        self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
    ) -> None:
        """Fill in turns and answer of each (empty) episode; tell the index of each batch as it ends."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """What an evaluation found.

    Attributes:
        accuracy: `correct / n`, in [0, 1].
        ci95: the Wilson interval of `accuracy`.
        n: questions asked.
        correct: questions answered with the gold answer.
        invalid: questions without a readable answer; they count as wrong.
        tokens: prompt and sampled tokens of all turns.
        seconds: wall-clock time.
        records: the file with a line a question, where one was asked for.
    """

    accuracy: float
    ci95: tuple[float, float]
    n: int
    correct: int
    invalid: int
    tokens: int
    seconds: float
    records: Path | None

    def to_json(self) -> dict[str, Any]:
        """The result in JSON's types, under the attributes' names."""
        return {
            "accuracy": self.accuracy,
            "ci95": list(self.ci95),
            "n": self.n,
            "correct": self.correct,
            "invalid": self.invalid,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "records": None if self.records is None else str(self.records),
        }


def evaluate(
    team: Player,
    questions: Sequence[Question],
    *,
    draws: Draws,
    batch_size: int,
    records: Path | None,
    ranks: Ranks,
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Ask each question once; on several ranks, each replica its share of them.

    Args:
        team: who answers.
        questions: asked in this order, with their options as they stand.
        draws: greedy, or sampled with a seed.
        batch_size: questions that travel through the team together.
        records: gets a JSON line a question, in the order of questions, as batches end; so an
            evaluation that is cut short leaves the answers it already has. A file that is there is
            replaced. Written by rank 0.
        on_progress: told (questions done, questions in all) of this replica after each batch.

    Returns:
        The same on every rank.

    Raises:
        DataError: there are no questions; an accuracy over none means nothing.
        Interrupted: a rank was asked to stop; raised on every rank.
    """
    if not questions:
        raise DataError(
            "There is no question to evaluate on.",
            why="the evaluation set is empty",
            fix="give a file with questions (--data FILE), or raise --limit or data.max_eval_samples",
        )
    began = time.monotonic()
    share = share_of(ranks, questions)
    batches = [
        [Episode(question=question, sample=0, step=0) for question in share[start : start + batch_size]]
        for start in range(0, len(share), batch_size)
    ]
    book = _Records(records if ranks.rank == 0 else None, batches)

    def on_end(index: int) -> None:
        done = book.close(index)
        if on_progress is not None:
            on_progress(done, len(share))

    try:
        team.play_all(batches, draws, on_end)
        called_off = False
    except Interrupted:
        called_off = True
    if ranks.any(called_off, "an evaluation"):
        raise stopped()
    seat, _ = ranks.placement.seat(ranks.rank)
    found = ranks.gather(book.rows if seat == 0 else [], "the answers of an evaluation")
    for rows in found[1:]:
        book.add(rows)
    result = _result(book.rows, time.monotonic() - began, records) if ranks.rank == 0 else None
    return cast(Result, ranks.broadcast(result, "the result of an evaluation"))


class _Records:
    """The records of an evaluation, which come batch by batch and are written in the questions' order."""

    def __init__(self, path: Path | None, batches: Sequence[Sequence[Episode]]) -> None:
        self._path = path
        self._batches = batches
        self._closed: set[int] = set()
        self._next = 0
        self.rows: list[dict[str, Any]] = []
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)

    def close(self, index: int) -> int:
        """Note that a batch has ended; returns how many questions have been answered so far."""
        self._closed.add(index)
        while self._next in self._closed:
            self.add([question_record(episode) for episode in self._batches[self._next]])
            self._next += 1
        return sum(len(self._batches[closed]) for closed in self._closed)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows += rows
        if self._path is not None:
            for row in rows:
                append_line(self._path, json.dumps(row))


def _result(rows: Sequence[dict[str, Any]], seconds: float, records: Path | None) -> Result:
    correct = sum(row["correct"] for row in rows)
    return Result(
        accuracy=correct / len(rows),
        ci95=wilson(correct, len(rows)),
        n=len(rows),
        correct=correct,
        invalid=sum(not row["valid"] for row in rows),
        tokens=sum(row["tokens"] for row in rows),
        seconds=seconds,
        records=records,
    )


def question_record(episode: Episode) -> dict[str, Any]:
    """What is kept of one finished episode: its answer beside the gold one, its cost, what was said.

    `valid` says whether an answer could be read; `tokens` counts prompt and sampled tokens.
    """
    return {
        "id": episode.question.id,
        "gold": episode.question.answer,
        "answer": episode.answer,
        "valid": episode.answer is not None,
        "correct": is_correct(episode.question, episode.answer),
        "tokens": sum(turn.tokens for turn in episode.turns),
        "turns": [{"agent": turn.agent, "round": turn.round, "text": turn.text} for turn in episode.turns],
    }
