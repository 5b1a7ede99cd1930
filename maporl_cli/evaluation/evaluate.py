"""Playing a team on questions it does not learn from, and counting what it got right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from maporl_cli.agents.answers import is_correct
from maporl_cli.core.atomic import append_line
from maporl_cli.core.errors import DataError
from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode, Question
from maporl_cli.evaluation.statistics import wilson


class Player(Protocol):
    """Whatever answers questions: a team, one agent alone, a stand-in for either."""

    def play(self, episodes: Sequence[Episode], draws: Draws) -> None:
        """Fill in the turns and the answer of each (empty) episode."""
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
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Ask each question once.

    Args:
        team: who answers.
        questions: asked in this order, with their options as they stand.
        draws: greedy, or sampled with a seed.
        batch_size: questions that travel through the team at once.
        records: gets a JSON line a question as its batch ends, so that an evaluation that is cut
            short leaves the answers it already has. A file that is there is replaced.
        on_progress: told (questions done, questions in all) after each batch.

    Raises:
        DataError: there are no questions; an accuracy over none means nothing.
    """
    if not questions:
        raise DataError(
            "There is no question to evaluate on.",
            why="the evaluation set is empty",
            fix="give a file with questions (--data FILE), or raise --limit or data.max_eval_samples",
        )
    if records is not None:
        records.parent.mkdir(parents=True, exist_ok=True)
        records.unlink(missing_ok=True)
    began = time.monotonic()
    correct = invalid = tokens = 0
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        episodes = [Episode(question=question, sample=0, step=0) for question in batch]
        team.play(episodes, draws)
        for episode in episodes:
            record = question_record(episode)
            correct += record["correct"]
            invalid += not record["valid"]
            tokens += record["tokens"]
            if records is not None:
                append_line(records, json.dumps(record))
        if on_progress is not None:
            on_progress(start + len(batch), len(questions))
    n = len(questions)
    return Result(
        accuracy=correct / n,
        ci95=wilson(correct, n),
        n=n,
        correct=correct,
        invalid=invalid,
        tokens=tokens,
        seconds=time.monotonic() - began,
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
        "tokens": sum(len(turn.prompt_ids) + len(turn.token_ids) for turn in episode.turns),
        "turns": [{"agent": turn.agent, "round": turn.round, "text": turn.text} for turn in episode.turns],
    }
