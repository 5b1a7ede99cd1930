"""Rewarding a step's episodes, each rank of a replica its share of them."""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Group
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.ranks import Ranks


def score(groups: Sequence[Group], reward: Reward, ranks: Ranks, timeline: Timeline) -> None:
    """Set `episode.score` on each episode; whole groups are shared out, since form is paid by group.

    Args:
        groups: those of this rank's replica, the same on each of its ranks.
        timeline: told how long this rank's share took, without waiting for the others.
    """
    seat, seats = ranks.placement.seat(ranks.rank)
    own = [group.episodes for group in groups[seat::seats]]
    with timeline.phase("scoring", rows=sum(map(len, own))):
        reward.score(own)
    scores = [[episode.score for episode in episodes] for episodes in own]
    for other, told in enumerate(ranks.gather_in_replica(scores, "the rewards")):
        for group, values in zip(groups[other::seats], told, strict=True):
            for episode, value in zip(group.episodes, values, strict=True):
                episode.score = value
