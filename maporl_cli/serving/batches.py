"""Requests that wait while the team plays are answered together in its next play."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from maporl_cli.serving.refusals import Busy
from maporl_cli.serving.requests import Asked
from maporl_cli.serving.served_team import Reply, ServedTeam

WAITING = 2048
"""Questions that may wait."""

_Waiting = tuple[Asked, asyncio.Future[Reply | Exception]]


class Batches:
    """Brings requests to the team, and each reply back to its own request, whatever its questions are called.

    Nobody is made to wait for others to come: while the team plays they gather by themselves.
    """

    def __init__(self, team: ServedTeam) -> None:
        self._team = team
        self._queue: deque[_Waiting] = deque()
        self._came = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Questions whose play has not begun."""
        return sum(len(asked.questions) for asked, _ in self._queue)

    async def answer(self, asked: Asked) -> Reply:
        """The team's reply.

        Raises:
            Busy: too many questions wait already.
            Exception: what answering it ended in.
        """
        if self.waiting + len(asked.questions) > WAITING:
            raise Busy(
                "Too many questions wait already.",
                why=f"at most {WAITING:,} may",
                fix="send it again a little later",
            )
        waiter: asyncio.Future[Reply | Exception] = asyncio.get_running_loop().create_future()
        self._queue.append((asked, waiter))
        self._came.set()
        reply = await waiter
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def run(self) -> None:
        """Answer what comes, until cancelled; the team plays on a thread of its own, so others go on here."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "graph") as graph:
            while True:
                await self._came.wait()
                batch = self._next()
                replies = await loop.run_in_executor(graph, self._team.answer, [asked for asked, _ in batch])
                for (_, waiter), reply in zip(batch, replies, strict=True):
                    if not waiter.done():  # it is where whoever asked has gone
                        waiter.set_result(reply)

    def _next(self) -> list[_Waiting]:
        """Those who have waited longest, as far as one play can hold them; one request is always taken."""
        batch = [self._queue.popleft()]
        room = self._team.most - len(batch[0][0].questions)
        while self._queue and len(self._queue[0][0].questions) <= room:
            batch.append(self._queue.popleft())
            room -= len(batch[-1][0].questions)
        if not self._queue:
            self._came.clear()
        return batch
