"""Where the turns of a team are taken, and in which order.

Several batches of a play travel through the team's graph at once. On one rank their turns queue
for the floor; on several (`training.exchange`), most turns are taken elsewhere and arrive by mail.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from maporl_cli.core.errors import Interrupted
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Turn

_LISTEN = 0.0005
"""Seconds before the floor is given on, in which letters that came meanwhile bring their batches up."""

Speak = Callable[[], list[Turn]]
"""Takes an agent's turns on a batch, with the policy of this rank."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent's turns on a batch belong.

    Attributes:
        play: the team's plays so far; the same number on every rank.
        batch: index of the batch in its play.
    """

    play: int
    batch: int
    round: int
    agent: str


class Stage(Protocol):
    """Decides where and when turns are taken."""

    async def turns(self, place: Place, speak: Speak) -> list[Turn]:
        """The turns that belong at `place`: taken here by `speak`, or on another rank."""
        ...


class Floor:
    """The right to speak on a rank: one batch of turns at a time, the oldest waiting batch first.

    Oldest first, because what a rank finishes early is what other ranks wait for: a rank with two
    agents that planned every batch before it researched the first would keep the analyst idle.

    Args:
        timeline: told who spoke for how long.
        stopping: asked before each batch of turns; a play that shall stop is called off.
    """

    def __init__(self, timeline: Timeline, stopping: Callable[[], bool]) -> None:
        self._timeline = timeline
        self._stopping = stopping
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()
        self._taken = False

    async def turns(self, place: Place, speak: Speak) -> list[Turn]:
        """What `speak` gives, once it is this place's turn.

        Raises:
            Interrupted: the play was called off.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a new play, with nothing left of the last one
            self._loop, self._waiting, self._taken = loop, [], False
        granted = loop.create_future()
        heapq.heappush(self._waiting, (place.batch, next(self._arrivals), granted))
        if not self._taken:
            self._taken = True
            loop.call_later(_LISTEN, self._grant)
        try:
            await granted
            if self._stopping():
                raise stopped()
            with self._timeline.turns(place.agent, batch=place.batch, round=place.round) as told:
                turns = speak()
                told |= {"rows": len(turns), "tokens": sum(turn.sampled for turn in turns)}
            return turns
        finally:
            loop.call_later(_LISTEN, self._grant)

    def _grant(self) -> None:
        self._taken = False
        while self._waiting and not self._taken:
            _, _, granted = heapq.heappop(self._waiting)
            if not granted.done():  # one is done already where its play was called off
                granted.set_result(None)
                self._taken = True


def stopped() -> Interrupted:
    """What a play that was called off raises."""
    return Interrupted(
        "Stopped while the team was playing.",
        why="nothing of this phase is kept; what came before it is",
        fix="run the same command with --resume to go on",
    )
