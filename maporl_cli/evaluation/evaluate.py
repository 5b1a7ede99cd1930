"""Playing a team on questions it does not learn from, and counting what it got right."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from maporl_cli.agents.stage import stopped
from maporl_cli.core.errors import DataError, Interrupted
from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode, Question
from maporl_cli.evaluation.records import Key, Records, Row, key_of, record_of
from maporl_cli.evaluation.statistics import wilson
from maporl_cli.training.ranks import Ranks, place_of, share_of

Progress = Callable[[int, int], None]
"""Told (questions answered, questions in all) of this rank's replica."""
Judge = Callable[[Sequence[Episode]], None]
"""Scores finished episodes."""


class Player(Protocol):
    """Whatever answers questions: a team, one agent alone, a stand-in for either."""

    def play_all(
        self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
    ) -> None:
        """Fill in turns and answer of each episode; tell the index of each batch as it ends."""
        ...


def one_after_another(
    batches: Sequence[Sequence[Episode]],
    play: Callable[[Sequence[Episode]], None],
    stopping: Callable[[], bool],
    on_end: Callable[[int], None] | None,
) -> None:
    """What `Player.play_all` is to one who plays a batch at a time.

    Raises:
        Interrupted: the user wants to stop; asked before each batch.
    """
    for index, episodes in enumerate(batches):
        if stopping():
            raise stopped()
        play(episodes)
        if on_end is not None:
            on_end(index)


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


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered.

    Attributes:
        rows: the records in the order of the episodes, those of earlier sittings among them.
        asked: how many were asked now.
        seconds: how long they took, wall-clock, scoring and recording included.
    """

    rows: list[Row]
    asked: int
    seconds: float


def evaluate(
    team: Player,
    questions: Sequence[Question],
    *,
    draws: Draws,
    batch_size: int,
    records: Path | None,
    ranks: Ranks,
    on_progress: Progress | None = None,
) -> Result:
    """Ask each question once and count; as `answer_all`.

    Returns:
        The same on every rank.
    """
    episodes = [Episode(question=question, sample=0, step=0) for question in questions]
    answers = answer_all(
        team,
        episodes,
        draws=draws,
        batch_size=batch_size,
        records=records,
        ranks=ranks,
        on_progress=on_progress,
    )
    return _result(answers, records)


def answer_all(
    team: Player,
    episodes: Sequence[Episode],
    *,
    draws: Draws,
    batch_size: int,
    records: Path | None,
    ranks: Ranks,
    judge: Judge | None = None,
    record: Callable[[Episode], Row] = record_of,
    resume: bool = False,
    warn: Callable[[str], None] | None = None,
    on_progress: Progress | None = None,
) -> Answers:
    """Have every episode played; on several ranks, each replica plays its share of the batches.

    Which episodes are in a batch does not depend on the ranks, nor on what is done already.

    Args:
        team: who answers.
        episodes: empty ones, or such as are played on from where they stand; no two of one key.
        draws: greedy, or sampled with a seed.
        batch_size: episodes that travel through the team together.
        records: gets a JSON line an episode as batches end, so an evaluation that is cut short leaves the
            answers it already has; in the order of the episodes when all have. A file that is there is
            replaced, unless `resume`.
        judge: scores the episodes of a batch, before they are recorded.
        record: what is kept of an episode.
        resume: go on from the records that are there.
        warn: told of a record that was cut short.
        on_progress: told after each batch.

    Returns:
        the same on every rank.

    Raises:
        DataError: there are no episodes; an accuracy over none means nothing.
        Interrupted: a rank was asked to stop; raised on every rank.
    """
    if not episodes:
        raise DataError(
            "There is no question to evaluate on.",
            why="the evaluation set is empty",
            fix="give a file with questions (--data FILE), or raise --limit or data.max_eval_samples",
        )
    began = time.monotonic()
    kept = None if records is None else Records(records, part=place_of(ranks).replica or 0)
    seat, _ = ranks.placement.seat(ranks.rank)
    done = _done(kept, ranks, resume, warn or (lambda _: None))
    batches = [episodes[start : start + batch_size] for start in range(0, len(episodes), batch_size)]
    batches = [batch for batch in batches if any(_key(episode) not in done for episode in batch)]
    own = share_of(ranks, batches)
    total, answered = sum(map(len, own)), 0
    rows: list[Row] = []

    def on_end(index: int) -> None:
        nonlocal answered
        answered += len(own[index])
        if seat == 0:
            if judge is not None:
                judge(own[index])
            found = [record(episode) for episode in own[index]]
            rows.extend(found)
            if kept is not None:
                kept.add(found)
        if on_progress is not None:
            on_progress(answered, total)

    try:
        team.play_all(own, draws, on_end)
        called_off = False
    except Interrupted:
        called_off = True
    if ranks.any(called_off, "an evaluation"):
        raise stopped()
    found = ranks.gather(rows, "the answers of an evaluation")
    done |= {key_of(row): row for told in found for row in told}
    if ranks.rank == 0:
        rows = [done[_key(episode)] for episode in episodes]
        if kept is not None:
            kept.close(rows)
    answers = Answers(rows, sum(map(len, batches)), time.monotonic() - began)
    answers = ranks.broadcast(answers, "the records of an evaluation")
    if kept is not None:
        kept.drop_parts()
    return answers


def _done(kept: Records | None, ranks: Ranks, resume: bool, warn: Callable[[str], None]) -> dict[Key, Row]:
    """What an earlier sitting answered; the records themselves on rank 0, their keys on every rank."""
    if kept is None:
        return {}
    if not resume:
        kept.forget()
    told = kept.read(warn if ranks.rank == 0 else lambda _: None)
    rows = [row for found in ranks.gather(told, "the records so far") for row in found]
    there = {key_of(row): row for row in rows}
    keys = ranks.broadcast(list(there), "what is answered already")
    return {key: there.get(key, {}) for key in keys}


def _key(episode: Episode) -> Key:
    return episode.question.id, episode.step


def _result(answers: Answers, records: Path | None) -> Result:
    rows = answers.rows
    correct = sum(row["correct"] for row in rows)
    return Result(
        accuracy=correct / len(rows),
        ci95=wilson(correct, len(rows)),
        n=len(rows),
        correct=correct,
        invalid=sum(not row["valid"] for row in rows),
        tokens=sum(row["tokens"] for row in rows),
        seconds=answers.seconds,
        records=records,
    )
