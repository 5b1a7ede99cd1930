"""The schedule of a rollout without its models: when which rank speaks, and how long each waits.

What `agents.stage` and `training.exchange` do is played out with given times: every batch goes
through the agents in order, a rank serves the oldest batch that waits for it, a letter takes its
time, and every rank takes note of every turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from statistics import fmean

from maporl_cli.core.config import Config
from maporl_cli.training.placement import Placement
from maporl_cli.training.rollout import microbatches_of

_BEGINS, _HEARD, _ENDS = range(3)
"""What happens to a turn. At one time in this order, since a rank listens before it gives the floor on."""


def batches_of(config: Config, replicas: int, microbatches: int) -> list[int]:
    """Episodes in each microbatch of a replica's rollout; in a comb, in those of the siblings at a place."""
    together = config.rollout.group_size - (config.rollout.sampling == "comb")
    groups = [range(together)] * (config.train.batch_size // replicas)
    return [len(part) for part in microbatches_of(groups, microbatches)]


def schedule_idle(config: Config, placement: Placement, microbatches: int) -> float:
    """The share of a rollout that ranks would wait where every turn takes equally long."""
    batches = batches_of(config, placement.replicas, microbatches)
    rounds = config.team.max_rounds_per_episode
    whole, spoken = play_out(placement, len(batches), rounds, lambda batch, _, __: batches[batch])
    return 1 - fmean(spoken.values()) / whole


def play_out(
    placement: Placement,
    batches: int,
    rounds: int,
    seconds: Callable[[int, int, str], float],
    *,
    letter: float = 0.0,
    handling: float = 0.0,
) -> tuple[float, dict[int, float]]:
    """How long the ranks of a replica take for the turns of a play, and how long each of them speaks.

    Args:
        seconds: what the turns of a batch, round and agent take.
        letter: seconds from the end of a turn until another rank can go on from it.
        handling: seconds that each rank takes note of a turn, whoever took it.

    Returns:
        Seconds until the last turn has ended and every rank has noted it; seconds of speaking by rank.
    """
    path = [(round, agent) for round in range(rounds) for agent in placement.agents]
    owners = {agent: place.rank for place in placement.replica(0) for agent in place.agents}
    spoken = dict.fromkeys(sorted(set(owners.values())), 0.0)
    waiting: dict[int, list[tuple[int, int]]] = {rank: [] for rank in spoken}
    speaking = dict.fromkeys(spoken, False)
    free = dict.fromkeys(spoken, 0.0)  # from when on a rank that does not speak could
    owed = dict.fromkeys(spoken, 0.0)  # notes that a rank which speaks has still to take
    # (time, kind, batch, place on the path, rank that is told).
    events = [(0.0, _BEGINS, batch, 0, owners[path[0][1]]) for batch in range(batches)]
    heapq.heapify(events)
    now = 0.0
    while events:
        now, kind, batch, place, rank = heapq.heappop(events)
        if kind == _ENDS:
            speaking[rank], free[rank] = False, now + owed[rank]
            owed[rank] = 0.0
            for hearer in spoken:
                heard = now if hearer == rank else now + letter
                heapq.heappush(events, (heard, _HEARD, batch, place, hearer))
        elif kind == _HEARD:
            if speaking[rank]:
                owed[rank] += handling
            else:
                free[rank] = max(free[rank], now) + handling
            if place + 1 < len(path) and owners[path[place + 1][1]] == rank:
                heapq.heappush(waiting[rank], (batch, place + 1))
        else:
            heapq.heappush(waiting[rank], (batch, place))
        # Nobody is given the floor before everything that happens at this time has happened.
        if events and events[0][0] == now:
            continue
        for rank, queue in waiting.items():
            if queue and not speaking[rank]:
                batch, place = heapq.heappop(queue)
                spent = seconds(batch, *path[place])
                spoken[rank] += spent
                speaking[rank] = True
                heapq.heappush(events, (max(now, free[rank]) + spent, _ENDS, batch, place, rank))
    return max(now, *free.values()), spoken
