"""How fast a run was: what the `profile.json` of a run with `--profile` says of its turns and updates."""

# scipy is not typed.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
from scipy.optimize import nnls

from maporl_cli.core.errors import DataError

_A_LINE = 6
"""Calls from which on the cost of a call is told from that of its rows."""

Event = Mapping[str, Any]
"""A complete event of `core.timeline`: microseconds, the rank as `pid`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a call: `call + row · rows`."""

    call: float
    row: float

    def of(self, rows: float) -> float:
        """Seconds of a call with so many rows; a call with none is not made."""
        return self.call + self.row * rows if rows else 0.0

    @staticmethod
    def proportional(rows: Sequence[int], seconds: Sequence[float]) -> Cost:
        """As if a call cost nothing but its rows: what a few calls can tell."""
        return Cost(0.0, sum(seconds) / sum(rows))

    @staticmethod
    def fitted(rows: Sequence[int], seconds: Sequence[float]) -> Cost:
        """The least-squares fit to measured calls, neither part below zero."""
        call, row = nnls(np.column_stack([np.ones(len(rows)), rows]), np.asarray(seconds))[0]
        return Cost(float(call), float(row))


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured of a run.

    Attributes:
        steps: how many steps it was measured in.
        turns: by agent, a batch of its turns.
        sizes: the sizes of these batches, in turns, from the smallest on.
        tokens: by agent, sampled tokens a turn.
        active: the share of the episodes that are still active in each round.
        handling: seconds in which a rank takes note of a batch of turns, its own or a mate's.
        reward: seconds to score one episode.
        update: by agent, an update from so many turns; agents that were never updated are not in it.
        learned: by agent, the share of its turns that it was updated from; the others were cut, or of
            groups without spread.
        results: seconds in which rank 0 makes metrics and a record of one episode.
    """

    steps: int
    turns: Mapping[str, Cost]
    sizes: tuple[int, ...]
    tokens: Mapping[str, float]
    active: tuple[float, ...]
    handling: float
    reward: float
    update: Mapping[str, Cost]
    learned: Mapping[str, float]
    results: float

    @staticmethod
    def measured(profile: Path) -> Rates:
        """The rates of the team in the `profile.json` of a run; the first step, which warms up, left out.

        Raises:
            DataError: it is no profile, or shows no more than one step.
        """
        try:
            events = json.loads(profile.read_text(encoding="utf-8"))["traceEvents"]
            return _rates([event for event in events if event["ph"] == "X" and _of_team(event)])
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise DataError(
                "There are no rates to predict from.",
                where=str(profile),
                why=_why(error),
                fix="train a few steps with `maporl train --profile --set train.max_steps=4 "
                "--set eval.baselines=[]`, and predict from that run",
            ) from error


def _of_team(event: Event) -> bool:
    """Whether the team of the run did this in training, and not a baseline or an evaluation."""
    return event["args"].get("of") == "team" and "step" in event["args"]


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the run was made without --profile"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _rates(spans: Sequence[Event]) -> Rates:
    first = min((span["args"]["step"] for span in spans), default=0)
    spans = [span for span in spans if span["args"]["step"] > first]
    turns = [span for span in spans if span["cat"] == "turns" and span["args"]["phase"] == "rollout"]
    if not turns:
        raise ValueError("it shows no rollout after a first step")
    agents = _by_name(turns)
    learned = _by_name(_updates(spans))
    rounds = 1 + max(span["args"]["round"] for span in turns)
    active = [_rows(span for span in turns if span["args"]["round"] == round) for round in range(rounds)]
    episodes = active[0] / len(agents)  # of all steps
    return Rates(
        steps=len({span["args"]["step"] for span in turns}),
        turns={name: _cost(own) for name, own in agents.items()},
        sizes=tuple(sorted({span["args"]["rows"] for span in turns})),
        tokens={
            name: sum(span["args"]["tokens"] for span in own) / _rows(own) for name, own in agents.items()
        },
        active=tuple(count / active[0] for count in active),
        handling=_handling(_phase(spans, "rollout"), turns),
        reward=_seconds(_phase(spans, "scoring")) / episodes,
        # One a step: of fewer, a line would say anything.
        update={
            name: _cost(own) if len(own) >= _A_LINE else _cost(own, proportional=True)
            for name, own in learned.items()
        },
        learned={name: _rows(own) / _rows(agents[name]) for name, own in learned.items()},
        results=_seconds(span for span in _phase(spans, "results") if span["pid"] == 0) / episodes,
    )


def _phase(spans: Sequence[Event], name: str) -> list[Event]:
    return [span for span in spans if span["cat"] == "phase" and span["name"] == name]


def _updates(spans: Sequence[Event]) -> list[Event]:
    """Every update as one event: its first gradient and its steps are spans of their own.

    An update of nothing, in a step of dead groups, tells nothing.
    """
    found: dict[tuple[str, int, int], Event] = {}
    for span in spans:
        if span["cat"] == "update" and span["args"]["rows"]:
            key = span["name"], span["pid"], span["args"]["step"]
            before = found[key]["dur"] if key in found else 0.0
            found[key] = {**span, "dur": before + span["dur"]}
    return list(found.values())


def _handling(rollouts: Sequence[Event], turns: Sequence[Event]) -> float:
    """Seconds between turns in which a rank does not wait for another.

    With one rank that is all the time between turns. With several, who waits cannot be told from who
    takes note; but where a turn follows soonest on another, nobody waited: the lowest quarter.
    """
    if len({span["pid"] for span in rollouts}) == 1:
        return (_seconds(rollouts) - _seconds(turns)) / len(turns)
    by_rollout: dict[tuple[int, int], list[Event]] = {}
    for span in sorted(turns, key=lambda span: span["ts"]):
        by_rollout.setdefault((span["pid"], span["args"]["step"]), []).append(span)
    gaps = [
        later["ts"] - (span["ts"] + span["dur"])
        for own in by_rollout.values()
        for span, later in pairwise(own)
    ]
    return quantiles(gaps, n=4)[0] / 1e6 if len(gaps) > 1 else 0.0


def _seconds(spans: Iterable[Event]) -> float:
    return sum(span["dur"] for span in spans) / 1e6


def _rows(spans: Iterable[Event]) -> int:
    return sum(span["args"]["rows"] for span in spans)


def _by_name(spans: Sequence[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for span in spans:
        found.setdefault(span["name"], []).append(span)
    return found


def _cost(spans: Sequence[Event], *, proportional: bool = False) -> Cost:
    fit = Cost.proportional if proportional else Cost.fitted
    return fit([span["args"]["rows"] for span in spans], [span["dur"] / 1e6 for span in spans])
