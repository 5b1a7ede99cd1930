"""Accuracy: the final answer decides, nothing else that the text says."""

from __future__ import annotations

from maporl_cli.agents.answers import is_correct
from maporl_cli.core.types import Episode
from maporl_cli.rewards.component import Measure, register_component


def accuracy(episode: Episode) -> Measure:
    """1 where the final answer is the gold one, else 0; an unreadable answer is wrong."""
    if episode.answer is None:
        return Measure(0.0, "no single answer could be read from the report")
    if is_correct(episode.question, episode.answer):
        return Measure(1.0)
    return Measure(0.0, f"answered {episode.answer!r}, the gold answer is {episode.question.answer!r}")


register_component("accuracy", accuracy)
