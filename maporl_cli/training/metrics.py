"""What a step's episodes say, under the names that the project's guide gave its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from maporl_cli.agents.answers import is_correct
from maporl_cli.agents.team import Agent
from maporl_cli.core.types import Episode, Group
from maporl_cli.training.conduct import conduct
from maporl_cli.training.ranks import Ranks, place_of
from maporl_cli.training.rollout import distinct_episodes

COMPONENT_METRICS = {
    "medical_relevance": "medical:relevance",
    "safety": "safety:score",
    "collaboration": "collaboration:score",
    "evidence_quality": "evidence:quality",
    "clinical_reasoning": "reasoning:score",
}
"""Metric names of the reward's components; a plug-in's component is logged as `reward:<name>`."""


@dataclass(frozen=True, slots=True)
class StepShare:
    """What one rank has to tell of a step.

    Attributes:
        groups: its replica's.
        dead_groups: how many of them had no spread in their rewards.
        learned: the metrics of the agents that it updated.
        idle: the share of its rollout time in which none of its agents spoke; None where it has none.
        credit_tokens: read and sampled in its replica to measure what the credit rule asks for; None where it
            asks for nothing.
    """

    groups: Sequence[Group]
    dead_groups: int
    learned: Mapping[str, float]
    idle: float | None
    credit_tokens: int | None = None

    def of(self, ranks: Ranks) -> StepShare:
        """What to send: one rank speaks for its replica, the others would only repeat its episodes."""
        if place_of(ranks).replica is None:
            return replace(self, idle=None)
        seat, _ = ranks.placement.seat(ranks.rank)
        return self if seat == 0 else replace(self, groups=(), dead_groups=0, credit_tokens=None)


def episodes_of(shares: Sequence[StepShare]) -> list[Episode]:
    """All episodes of the step, each once."""
    return [episode for share in shares for episode in distinct_episodes(share.groups)]


class Monitor(Protocol):
    """Where a step's metrics and episodes go."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def episodes(self, step: int, episodes: Sequence[Episode]) -> None: ...


def step_metrics(shares: Sequence[StepShare], agents: Sequence[Agent]) -> dict[str, float]:
    """What the ranks' shares say together.

    Means are over the scored episodes of the step, accuracy over those with a gold answer; what applied
    to none is absent, not zero. An agent that several replicas updated was updated alike on each. A turn
    that several episodes share counts once.

    Args:
        agents: the whole team.
    """
    played = episodes_of(shares)
    turns = [turn for episode in played for turn in episode.taken]
    episodes = [episode for episode in played if _is_fair(episode)]
    groups = sum(len(share.groups) for share in shares)
    scores = [episode.score for episode in episodes if episode.score is not None]
    known = [episode for episode in episodes if episode.question.has_gold]
    unknown = [episode for episode in episodes if not episode.question.has_gold]
    means = {
        "train:accuracy": [float(is_correct(episode.question, episode.answer)) for episode in known],
        "train:reward": [score.total for score in scores],
        "train:task_reward": [score.task for score in scores],
        "train:format": [score.form for score in scores],
        "train:unscored": [float(episode.score is None) for episode in episodes] if unknown else [],
        "verifier:believed": [episode.verified for episode in unknown if episode.verified is not None],
    }
    metrics = {name: fmean(values) for name, values in means.items() if values} | {
        "train:invalid": fmean(float(episode.answer is None) for episode in episodes),
        "train:dead_groups": sum(share.dead_groups for share in shares) / groups,
        "train:cut_turns": sum(not turn.finished for turn in turns) / len(turns),
        "train:rounds": fmean(episode.turns[-1].round + 1 for episode in episodes),
        "train:tokens": float(sum(turn.tokens for turn in turns)),
    }
    names = {name for score in scores for name in score.components} - {"accuracy"}
    for name in sorted(names):
        values = [score.components[name] for score in scores if name in score.components]
        metrics[COMPONENT_METRICS.get(name, f"reward:{name}")] = fmean(values)
    metrics |= conduct(played, agents)
    spent = [share.credit_tokens for share in shares if share.credit_tokens is not None]
    if spent:
        metrics["credit:tokens"] = float(sum(spent))
    for share in shares:
        metrics |= share.learned
    if (agreed := agreement([group for share in shares for group in share.groups])) is not None:
        metrics["train:agreement"] = agreed
    losses = [value for name, value in metrics.items() if name.endswith(":loss")]
    if losses:
        metrics["train:loss"] = fmean(losses)
    if len(shares) > 1:
        metrics["train:idle"] = fmean(share.idle for share in shares if share.idle is not None)
    return metrics


def agreement(groups: Sequence[Group]) -> float | None:
    """Pearson's correlation of reward and correctness within groups, over all groups' deviations from their
    means: what learning is after. 1 where only right answers earn more; less, the more else is paid for.

    Returns:
        None where no group holds right and wrong answers, or no group's rewards differ.
    """
    both = rewards = rights = 0.0
    for group in groups:
        pairs = [
            (episode.score.total, float(is_correct(episode.question, episode.answer)))
            for episode in group.episodes
            if episode.score is not None and episode.question.has_gold
        ]
        if not pairs:
            continue
        reward, right = (fmean(values) for values in zip(*pairs, strict=True))
        both += sum((x - reward) * (y - right) for x, y in pairs)
        rewards += sum((x - reward) ** 2 for x, _ in pairs)
        rights += sum((y - right) ** 2 for _, y in pairs)
    return both / math.sqrt(rewards * rights) if rewards and rights else None


def _is_fair(episode: Episode) -> bool:
    """Whether an episode is one as if drawn by itself.

    A sibling in a comb is where it parted from its spine in the first round, since every spine came so far;
    in later rounds only those of questions that the team had not settled have siblings.
    """
    return episode.turns[episode.inherited].round == 0
