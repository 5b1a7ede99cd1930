"""Producing the episodes of a step: every question of the batch, `group_size` times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from maporl_cli.agents.team import Team
from maporl_cli.core.randomness import Sampled, shuffle_options
from maporl_cli.core.types import Episode, Question
from maporl_cli.training.placement import even_parts
from maporl_cli.training.ranks import Ranks, share_of

T = TypeVar("T")
Group = list[Episode]


def rollout(
    team: Team,
    questions: Sequence[Question],
    *,
    step: int,
    seed: int,
    group_size: int,
    microbatches: int,
    ranks: Ranks,
) -> list[Group]:
    """One group of finished episodes for each question of this rank's replica, in the order of `questions`.

    A replica's share travels through the team's graph in `microbatches` parts at once; how many
    there are changes memory and timing, never an episode (all draws are keyed by place).

    Args:
        questions: the whole step's; as many as the replicas share evenly.
    """
    groups: list[Group] = []
    earlier: Counter[str] = Counter()
    for question in questions:
        shown = shuffle_options(question, seed, step)
        # At the edge of an epoch a question may come twice: its second group counts on, or it
        # would draw the episodes of the first again.
        first = group_size * earlier[question.id]
        earlier[question.id] += 1
        groups.append([Episode(shown, sample, step) for sample in range(first, first + group_size)])
    share = share_of(ranks, groups)
    team.play_all(microbatches_of(share, microbatches), Sampled(seed))
    return share


def microbatches_of(groups: Sequence[Sequence[T]], count: int) -> list[list[T]]:
    """Whole groups in `count` parts of about one size; with more parts than groups, parts of groups.

    A group's episodes ask the same at first, which is read once where they are together.
    """
    if count <= len(groups) or not groups:
        return [[episode for group in part for episode in group] for part in even_parts(groups, count)]
    per_group = -(-count // len(groups))
    return [part for group in groups for part in even_parts(group, min(per_group, len(group)))]
