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


def batches_of(config: Config, replicas: int, microbatches: int) -> list[int]:
    """Episodes in each microbatch of a replica's rollout."""
    groups = [range(config.rollout.group_size)] * (config.train.batch_size // replicas)
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
        Seconds until the last turn has ended and is taken note of; seconds of speaking by rank.
    """
    path = [(round, agent) for round in range(rounds) for agent in placement.agents]
    owners = {agent: place.rank for place in placement.replica(0) for agent in place.agents}
    spoken = dict.fromkeys(sorted(set(owners.values())), 0.0)
    waiting: dict[int, list[tuple[int, int]]] = {rank: [] for rank in spoken}
    speaking = dict.fromkeys(spoken, False)
    free = dict.fromkeys(spoken, 0.0)  # from when on a rank that does not speak could
    owed = dict.fromkeys(spoken, 0.0)  # notes that a rank which speaks has still to take
    # (time, kind, batch, place on the path): at one time, arrivals (0) come before ends of turns (1),
    # since a rank listens before it gives the floor on.
    events = [(0.0, 0, batch, 0) for batch in range(batches)]
    heapq.heapify(events)
    now = 0.0
    while events:
        now, kind, batch, place = heapq.heappop(events)
        rank = owners[path[place][1]]
        if kind == 0:
            heapq.heappush(waiting[rank], (batch, place))
        else:
            speaking[rank], free[rank] = False, now + owed[rank]
            owed[rank] = 0.0
            for hearer in free:
                if speaking[hearer]:
                    owed[hearer] += handling
                else:
                    free[hearer] = max(free[hearer], now) + handling
            if place + 1 < len(path):
                there = owners[path[place + 1][1]]
                if there == rank:
                    heapq.heappush(waiting[rank], (batch, place + 1))
                else:
                    heapq.heappush(events, (now + letter, 0, batch, place + 1))
        # Nobody is given the floor before everything that happens at this time has happened.
        if events and events[0][0] == now:
            continue
        for rank, queue in waiting.items():
            if queue and not speaking[rank]:
                batch, place = heapq.heappop(queue)
                spent = seconds(batch, *path[place])
                spoken[rank] += spent
                speaking[rank] = True
                heapq.heappush(events, (max(now, free[rank]) + spent, 1, batch, place))
    return max(now, *free.values()), spoken
