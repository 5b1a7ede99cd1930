"""Producing the episodes of a step, in groups that are compared.

`chain` plays every question `group_size` times; the episodes of a group share the question alone, so what
happens late is compared across contexts that earlier turns have made different. `comb` plays a question
once, the spine, and at each place of it gives the turn `group_size` − 1 siblings in the very same context,
each continued to the end: a place is a group in which nothing but the turn there differs by choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from maporl_cli.agents.stage import stopped
from maporl_cli.agents.team import Team
from maporl_cli.core.batch_arithmetic import episodes_a_question
from maporl_cli.core.config import RolloutConfig
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.randomness import Draws, Sampled, shuffle_options
from maporl_cli.core.types import Episode, Group, Question
from maporl_cli.training.placement import even_parts
from maporl_cli.training.ranks import Ranks, share_of

T = TypeVar("T")


def rollout(
    team: Team, questions: Sequence[Question], *, step: int, seed: int, plan: RolloutConfig, ranks: Ranks
) -> list[Group]:
    """The groups of finished episodes of this rank's replica, in the order of `questions`.

    A replica's share travels through the team's graph in `plan.microbatches` parts at once; how many
    there are changes memory and timing, never an episode (all draws are keyed by place).

    Args:
        questions: the whole step's; as many as the replicas share evenly.

    Raises:
        Interrupted: on every rank, where one of them was asked to stop.
    """
    firsts: list[Episode] = []
    earlier: Counter[str] = Counter()
    for question in questions:
        # At the edge of an epoch a question may come twice: its second group counts on, or it
        # would draw the episodes of the first again.
        sample = episodes_a_question(plan, team.max_turns) * earlier[question.id]
        earlier[question.id] += 1
        firsts.append(Episode(shuffle_options(question, seed, step), sample, step))
    play = _comb if plan.sampling == "comb" else _chain
    return play(team, share_of(ranks, firsts), Sampled(seed), plan, ranks)


def _chain(
    team: Team, firsts: Sequence[Episode], draws: Draws, plan: RolloutConfig, ranks: Ranks
) -> list[Group]:
    groups = [[first, *_siblings(first, 0, plan.group_size)] for first in firsts]
    play_together(team, microbatches_of(groups, plan.microbatches), draws, ranks, "the rollout")
    return [Group(group) for group in groups]


def _comb(
    team: Team, spines: Sequence[Episode], draws: Draws, plan: RolloutConfig, ranks: Ranks
) -> list[Group]:
    parts = microbatches_of([[spine] for spine in spines], plan.microbatches)
    play_together(team, parts, draws, ranks, "the rollout of spines")
    combs = [
        [_siblings(spine, place, plan.group_size) for place in range(len(spine.turns))] for spine in spines
    ]
    batches: list[list[Episode]] = []
    for place in range(team.max_turns):  # those with the most turns to come go first
        here = [comb[place] for comb in combs if place < len(comb)]
        batches += microbatches_of(here, plan.microbatches)
    play_together(team, batches, draws, ranks, "the rollout of siblings")
    # A group scores its spine for itself, since whether form is paid depends on the group.
    return [
        Group([replace(spine), *siblings], place)
        for spine, comb in zip(spines, combs, strict=True)
        for place, siblings in enumerate(comb)
    ]


def _siblings(first: Episode, place: int, size: int) -> list[Episode]:
    """What stands beside `first` in a group of `size` at a place: as it is up to there, with other draws."""
    start = first.sample + 1 + place * (size - 1)
    return [
        replace(first, sample=sample, turns=first.turns[:place], answer=None, inherited=place)
        for sample in range(start, start + size - 1)
    ]


def play_together(
    team: Team, batches: Sequence[Sequence[Episode]], draws: Draws, ranks: Ranks, what: str
) -> None:
    """Play the batches of this rank's replica while the other replicas play theirs.

    Args:
        what: names the play, for errors.

    Raises:
        Interrupted: on every rank, where one of them was asked to stop.
    """
    try:
        team.play_all(batches, draws)
        off = False
    except Interrupted:
        off = True
    if ranks.any(off, f"whether to go on after {what}"):
        raise stopped()


def microbatches_of(groups: Sequence[Sequence[T]], count: int) -> list[list[T]]:
    """Whole groups in `count` parts of about one size; with more parts than groups, parts of groups.

    A group's episodes ask the same at first, which is read once where they are together.
    """
    if count <= len(groups) or not groups:
        return [[episode for group in part for episode in group] for part in even_parts(groups, count)]
    per_group = -(-count // len(groups))
    return [part for group in groups for part in even_parts(group, min(per_group, len(group)))]


def distinct_episodes(groups: Sequence[Group]) -> Iterator[Episode]:
    """Every episode once, also the spine that stands in a group for each of its places."""
    seen: set[tuple[str, int]] = set()
    for group in groups:
        for episode in group.episodes:
            if episode.key not in seen:
                seen.add(episode.key)
                yield episode
