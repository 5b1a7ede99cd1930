"""What a step would take on ranks that are not at hand.

The schedule of `agents.stage` and `training.exchange` is played out with measured rates in place of
models: every batch goes through the agents in order, a rank serves the oldest batch that waits for
it, and a letter takes its time. Rates come from the `profile.json` of a run with `--profile`.
"""

# scipy is not typed.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.optimize import nnls

from maporl_cli.core.config import Config
from maporl_cli.core.errors import DataError
from maporl_cli.training.placement import Placement
from maporl_cli.training.rollout import microbatches_of

LETTER = 0.003
"""Seconds from the end of a turn until a mate can go on from it: written, posted, fetched, read. Assumed,
for ranks on one machine; between hosts it takes their network's round trip more."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a call: `call + row · rows`."""

    call: float
    row: float

    def of(self, rows: float) -> float:
        """Seconds of a call with so many rows; a call with none is not made."""
        return self.call + self.row * rows if rows else 0.0

    @staticmethod
    def fitted(rows: Sequence[int], seconds: Sequence[float]) -> Cost:
        """The least-squares fit to measured calls, neither part below zero."""
        call, row = nnls(np.column_stack([np.ones(len(rows)), rows]), np.asarray(seconds))[0]
        return Cost(float(call), float(row))


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured of a run.

    Attributes:
        turns: by agent, a batch of its turns.
        update: by agent, an update from so many turns.
        learned: by agent, the share of its turns that it was updated from; the others were cut, or of
            groups without spread.
        reward: seconds to score one episode.
        active: the share of the episodes that are still active in each round.
        tokens: sampled tokens a turn, by agent.
    """

    turns: Mapping[str, Cost]
    update: Mapping[str, Cost]
    learned: Mapping[str, float]
    reward: float
    active: tuple[float, ...]
    tokens: Mapping[str, float]

    @staticmethod
    def measured(profile: Path) -> Rates:
        """The rates of the run whose `profile.json` this is; its first step, which warms up, left out.

        Raises:
            DataError: it is no profile, or shows no more than one step.
        """
        try:
            events = json.loads(profile.read_text(encoding="utf-8"))["traceEvents"]
            spans = [event for event in events if event["ph"] == "X"]
            steps = [span for span in spans if span["name"] == "rollout" and span["args"]["step"] > 1]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unusable(profile, f"{type(error).__name__}: {error}") from error
        turns = [span for span in spans if span["cat"] == "turns" and _within(span, steps)]
        if not turns:
            raise _unusable(profile, "it shows no rollout after the first step")
        updates = [span for span in spans if span["cat"] == "update" and span["args"]["step"] > 1]
        rewards = [span for span in spans if span["name"] == "reward" and span["args"]["step"] > 1]
        rounds = 1 + max(span["args"]["round"] for span in turns)
        rows = [_rows(span for span in turns if span["args"]["round"] == round) for round in range(rounds)]
        ranks = len({span["pid"] for span in spans})
        episodes = rows[0] / len({span["name"] for span in turns}) / (len(steps) / ranks)
        return Rates(
            turns=_costs(turns),
            update=_costs(updates),
            learned={
                name: _rows(own) / _rows(span for span in turns if span["name"] == name)
                for name, own in _by_name(updates).items()
            },
            reward=fmean(span["dur"] for span in rewards) / 1e6 * ranks / episodes,
            active=tuple(count / rows[0] for count in rows),
            tokens={
                name: fmean(s["args"]["tokens"] / s["args"]["rows"] for s in own)
                for name, own in _by_name(turns).items()
            },
        )


def _unusable(profile: Path, why: str) -> DataError:
    return DataError(
        "There are no rates to predict from.",
        where=str(profile),
        why=why,
        fix="train a few steps with `maporl train --profile --set train.max_steps=4`",
    )


def _within(span: Mapping[str, Any], phases: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        phase["pid"] == span["pid"] and phase["ts"] <= span["ts"] <= phase["ts"] + phase["dur"]
        for phase in phases
    )


def _rows(spans: Iterable[Mapping[str, Any]]) -> int:
    return sum(span["args"]["rows"] for span in spans)


def _by_name(spans: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        found.setdefault(span["name"], []).append(span)
    return found


def _costs(spans: Sequence[Mapping[str, Any]]) -> dict[str, Cost]:
    return {
        name: Cost.fitted([span["args"]["rows"] for span in own], [span["dur"] / 1e6 for span in own])
        for name, own in _by_name(spans).items()
    }


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a step is predicted to take.

    Attributes:
        seconds: of a step: rollout, reward and update.
        rollout, update: seconds of these parts.
        idle: the share of the rollout in which a rank's agents do not speak, mean over ranks.
        rank_seconds: seconds × ranks, what a step costs.
        tokens_per_second: sampled tokens, all agents together.
    """

    seconds: float
    rollout: float
    update: float
    idle: float
    rank_seconds: float
    tokens_per_second: float


def forecast(config: Config, placement: Placement, rates: Rates, letter: float = LETTER) -> Forecast:
    """Predict a step of the config's team on the placement's ranks.

    Args:
        letter: seconds from the end of a turn until a rank that waits for it can go on.

    Raises:
        DataError: the rates are of another team.
    """
    unknown = [agent for agent in placement.agents if agent not in rates.turns]
    if unknown:
        raise DataError(
            f"The rates say nothing of the agent {unknown[0]!r}.",
            where="placement.rates",
            why=f"they were measured on {', '.join(rates.turns)}",
            fix="measure the same team with --profile",
        )
    questions = config.train.batch_size // placement.replicas
    groups = [[0] * config.rollout.group_size] * questions
    batches = [len(part) for part in microbatches_of(groups, config.rollout.microbatches)]
    rounds = min(config.team.max_rounds_per_episode, len(rates.active))
    active = rates.active[:rounds]

    def seconds(batch: int, round: int, agent: str) -> float:
        return rates.turns[agent].of(batches[batch] * active[round])

    rollout, busy = play_out(placement, len(batches), rounds, seconds, letter)
    turns = sum(batches) * sum(active)
    update = max(
        sum(
            rates.update[agent].of(turns * rates.learned[agent])
            for agent in place.agents
            if agent in rates.update
        )
        for place in placement.replica(0)
    )
    reward = rates.reward * sum(batches) / len(busy)
    whole = rollout + reward + update
    return Forecast(
        seconds=whole,
        rollout=rollout,
        update=update,
        idle=1 - fmean(busy.values()) / rollout,
        rank_seconds=whole * placement.world_size,
        tokens_per_second=placement.replicas * turns * sum(rates.tokens.values()) / whole,
    )


def schedule_idle(config: Config, placement: Placement, microbatches: int) -> float:
    """The share of a rollout that ranks would wait where every turn takes equally long."""
    questions = config.train.batch_size // placement.replicas
    groups = [[0] * config.rollout.group_size] * questions
    batches = [len(part) for part in microbatches_of(groups, microbatches)]
    rounds = config.team.max_rounds_per_episode
    whole, busy = play_out(placement, len(batches), rounds, lambda batch, _, __: batches[batch], 0.0)
    return 1 - fmean(busy.values()) / whole


def play_out(
    placement: Placement,
    batches: int,
    rounds: int,
    seconds: Callable[[int, int, str], float],
    letter: float,
) -> tuple[float, dict[int, float]]:
    """How long the ranks of a replica take for the turns of a play, and how long each of them speaks.

    Args:
        seconds: what the turns of a batch, round and agent take.

    Returns:
        Seconds until the last turn has ended; seconds of speaking by rank.
    """
    path = [(round, agent) for round in range(rounds) for agent in placement.agents]
    owners = {agent: place.rank for place in placement.replica(0) for agent in place.agents}
    busy = dict.fromkeys(sorted(set(owners.values())), 0.0)
    waiting: dict[int, list[tuple[int, int]]] = {rank: [] for rank in busy}
    speaking = dict.fromkeys(busy, False)
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
            speaking[rank] = False
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
                busy[rank] += spent
                speaking[rank] = True
                heapq.heappush(events, (now + spent, 1, batch, place))
    return now, busy
