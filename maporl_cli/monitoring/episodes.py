"""A step's episodes as a file: every token of every turn, so that a run can be looked into afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maporl_cli.agents.answers import is_correct
from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.types import Episode, Turn


class EpisodeFiles:
    """The `episodes/` directory of a run: `step_000010.jsonl`, a JSON object an episode.

    Args:
        directory: made when the first step is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, step: int, episodes: Sequence[Episode]) -> Path:
        """Write the episodes of `step`, replacing what an earlier sitting wrote for it.

        Raises:
            RunFailed: the disk is full.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"step_{step:06d}.jsonl"
        atomic_write(path, "".join(json.dumps(episode_record(episode)) + "\n" for episode in episodes))
        return path


def episode_record(episode: Episode) -> dict[str, Any]:
    """The episode in JSON's types, under the attributes' names of `core.types`.

    `correct` is None where the question has no gold answer. The question's rationale is left out:
    agents never see it, and it would be repeated with every episode of a group.
    """
    question = episode.question
    return {
        "step": episode.step,
        "sample": episode.sample,
        "inherited": episode.inherited,
        "question": {
            "id": question.id,
            "text": question.text,
            "options": dict(question.options),
            "answer": question.answer,
            "context": question.context,
            "labels": dict(question.labels),
        },
        "answer": episode.answer,
        "correct": is_correct(question, episode.answer) if question.has_gold else None,
        "verified": episode.verified,
        "score": None
        if episode.score is None
        else {
            "task": episode.score.task,
            "form": episode.score.form,
            "total": episode.score.total,
            "components": dict(episode.score.components),
            "reasons": dict(episode.score.reasons),
        },
        "measured": {name: list(values) for name, values in episode.measured.items()},
        "turns": [_turn(turn) for turn in episode.turns],
    }


def _turn(turn: Turn) -> dict[str, Any]:
    """A policy's turn: its ids are its tokens, so nothing else counted them."""
    found = turn.record()
    del found["counted"]
    return found
