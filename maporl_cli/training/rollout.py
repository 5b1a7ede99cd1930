"""Producing the episodes of a step: every question of the batch, `group_size` times."""

from __future__ import annotations

from collections import Counter
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
    groups: list[Group] = []
    earlier: Counter[str] = Counter()
    for question in questions:
        shown = shuffle_options(question, seed, step)
        # At the edge of an epoch a question may come twice: its second group counts on, or it
        # would draw the episodes of the first again.
        first = group_size * earlier[question.id]
        earlier[question.id] += 1
        groups.append([Episode(shown, sample, step) for sample in range(first, first + group_size)])
    size = -(-len(groups) // microbatches)
    for start in range(0, len(groups), size):
        part = [episode for group in groups[start : start + size] for episode in group]
        team.play(part, Sampled(seed))
    return groups
