"""Producing the episodes of a step: every question of the batch, `group_size` times."""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.agents.team import Team
from maporl_cli.core.randomness import Sampled, shuffle_options
from maporl_cli.core.types import Episode, Question

Group = list[Episode]


def rollout(
    team: Team, questions: Sequence[Question], *, step: int, seed: int, group_size: int, microbatches: int
) -> list[Group]:
    """One group of finished episodes a question, in the order of `questions`.

    The batch travels through the team's graph in `microbatches` parts, group by group; how many
    there are changes memory and timing, never an episode (all draws are keyed by place).
    """
    groups = [
        [Episode(question=shown, sample=sample, step=step) for sample in range(group_size)]
        for shown in (shuffle_options(question, seed, step) for question in questions)
    ]
    size = -(-len(groups) // microbatches)
    for start in range(0, len(groups), size):
        part = [episode for group in groups[start : start + size] for episode in group]
        team.play(part, Sampled(seed))
    return groups
