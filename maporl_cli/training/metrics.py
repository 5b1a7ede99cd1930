"""What a step's episodes say, under the names that the project's guide gave its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Protocol

from maporl_cli.agents.answers import is_correct
from maporl_cli.core.types import Episode
from maporl_cli.training.experience import Gathered

COMPONENT_METRICS = {
    "medical_relevance": "medical:relevance",
    "safety": "safety:score",
    "collaboration": "collaboration:score",
    "evidence_quality": "evidence:quality",
    "clinical_reasoning": "reasoning:score",
}
"""Metric names of the reward's components; a plug-in's component is logged as `reward:<name>`."""


class Monitor(Protocol):
    """Where a step's metrics and episodes go."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def episodes(self, step: int, episodes: Sequence[Episode]) -> None: ...


def step_metrics(episodes: Sequence[Episode], gathered: Gathered, groups: int) -> dict[str, float]:
    """Means over the scored episodes of a step; a component that applied to none is absent, not zero."""
    scores = [episode.score for episode in episodes if episode.score is not None]
    turns = [turn for episode in episodes for turn in episode.turns]
    metrics = {
        "train:accuracy": fmean(float(is_correct(episode.question, episode.answer)) for episode in episodes),
        "train:reward": fmean(score.total for score in scores),
        "train:task_reward": fmean(score.task for score in scores),
        "train:format": fmean(score.form for score in scores),
        "train:invalid": fmean(float(episode.answer is None) for episode in episodes),
        "train:dead_groups": gathered.dead_groups / groups,
        "train:cut_turns": sum(not turn.finished for turn in turns) / len(turns),
        "train:rounds": fmean(episode.turns[-1].round + 1 for episode in episodes),
        "train:tokens": float(sum(len(turn.prompt_ids) + len(turn.token_ids) for turn in turns)),
    }
    names = {name for score in scores for name in score.components} - {"accuracy"}
    for name in sorted(names):
        values = [score.components[name] for score in scores if name in score.components]
        metrics[COMPONENT_METRICS.get(name, f"reward:{name}")] = fmean(values)
    return metrics
