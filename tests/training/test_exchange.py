"""Turns between ranks: each taken once, learned by all, and an error that says who was waited for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch.distributed as dist
from ranks import free_port
from support import floor

from maporl_cli.agents.stage import Place
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.types import Snippet, Turn
from maporl_cli.training.exchange import Exchange
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import LostContact

TEAM = ("planner", "researcher", "analyst", "reporter")


def turns(where: Place, rows: int = 2) -> list[Turn]:
    """Something of every kind that a letter must not change."""
    seen = (Snippet("e1", "a “finding”", "rct"), Snippet("e2", "another"))
    return [
        Turn(
            *(where.agent, where.round, (1, 2), (3, 4), (-0.1 - row / 3, -1e-9), "Δ “x”\n\0", row == 0, 7),
            evidence=seen[:row],
        )
        for row in range(rows)
    ]


class Job:
    """The ranks of a replica as threads, each with a connection of its own."""

    def __init__(self, count: int, *, timeout: float = 20.0, replicas: int = 1) -> None:
        self.placement = place(TEAM, count * replicas)
        self.port = free_port()
        self.server = dist.TCPStore(
            "127.0.0.1", self.port, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=20)
        )
        self.stop = [threading.Event() for _ in range(count * replicas)]
        self.spoken: list[tuple[int, Place]] = []
        self.stages = [self.exchange(rank, timeout) for rank in range(count * replicas)]

    def exchange(self, rank: int, timeout: float) -> Exchange:
        client = dist.TCPStore("127.0.0.1", self.port, is_master=False, timeout=timedelta(seconds=20))
        stopping = self.stop[rank].is_set
        mail = dist.PrefixStore("team", client)
        return Exchange(self.placement, rank, mail, timeout, floor(stopping), stopping)

    def play(
        self, batches: int, *, play: int = 1, rounds: int = 1, absent: Sequence[int] = (), speak: Any = None
    ) -> dict[int, Any]:
        """What each rank learned, by rank: the turns of each place, or the error it ended with."""

        def now(rank: int, where: Place) -> Callable[[], list[Turn]]:
            def taken() -> list[Turn]:
                self.spoken.append((rank, where))
                return (speak or turns)(where)

            return taken

        async def one(rank: int) -> dict[Place, list[Turn]]:
            found: dict[Place, list[Turn]] = {}

            async def batch(index: int) -> None:
                for round in range(rounds):
                    for agent in TEAM:
                        where = Place(play, index, round, agent)
                        found[where] = await self.stages[rank].turns(where, now(rank, where))

            await asyncio.gather(*(batch(index) for index in range(batches)))
            return found

        def go(rank: int) -> Any:
            try:
                return asyncio.run(one(rank))
            except (LostContact, Interrupted) as error:
                return error

        present = [rank for rank in range(self.placement.world_size) if rank not in absent]
        with ThreadPoolExecutor(len(present)) as pool:
            return dict(zip(present, pool.map(go, present), strict=True))


@pytest.mark.parametrize(("count", "replicas"), [(2, 1), (4, 1), (4, 2)])
def test_every_turn_is_taken_once_by_its_owner_and_learned_by_all(count, replicas):
    job = Job(count, replicas=replicas)
    learned = job.play(3, rounds=2)
    expected = {
        Place(1, index, round, agent): turns(Place(1, index, round, agent))
        for index in range(3)
        for round in range(2)
        for agent in TEAM
    }
    for found in learned.values():
        assert found == expected
    for replica in range(replicas):
        said = [(rank, where) for rank, where in job.spoken if job.placement.ranks[rank].replica == replica]
        assert sorted(repr(where) for _, where in said) == sorted(map(repr, expected))
        assert all(rank == job.placement.owner(where.agent, replica) for rank, where in said)


def test_letters_that_everybody_has_read_are_taken_down():
    job = Job(2)
    two_plays = 0
    for play in range(1, 6):
        assert all(len(found) == 4 * 4 for found in job.play(4, play=play).values())
        if play == 2:
            two_plays = job.server.num_keys()
        deadline = time.monotonic() + 10
        while play > 2 and job.server.num_keys() != two_plays and time.monotonic() < deadline:
            time.sleep(0.01)  # a listener is at it
    assert job.server.num_keys() == two_plays, "no more at any time"


def test_a_silent_rank_is_named_with_what_was_waited_for():
    job = Job(4, timeout=1.0)
    ended = job.play(3, absent=[2])
    assert all(isinstance(error, LostContact) for error in ended.values()), ended
    for error in ended.values():
        assert "rank 2" in error.what
        assert "the turn of analyst in round 1 on microbatch" in error.what
        assert "it sent nothing for 1 s" in error.why
        assert "placement.timeout" in error.fix


def test_a_rank_that_is_only_slow_is_waited_for():
    """Longer than the timeout in all, but never silent for that long."""
    job = Job(2, timeout=1.0)

    def slow(where: Place) -> list[Turn]:
        threading.Event().wait(0.15)
        return turns(where)

    learned = job.play(6, speak=slow)
    assert all(len(found) == 6 * 4 for found in learned.values())


@pytest.mark.parametrize("asked", [0, 3])
def test_a_stop_of_one_rank_calls_the_play_off_on_all(asked):
    job = Job(4)

    def speak(where: Place) -> list[Turn]:
        if where.batch == 1:
            job.stop[asked].set()
        return turns(where)

    ended = job.play(8, speak=speak)
    assert all(isinstance(error, Interrupted) for error in ended.values()), ended
    assert len(job.spoken) < 8 * 4


def test_without_its_store_a_rank_gives_up_at_once():
    job = Job(2, timeout=600.0)
    planner, analyst = Place(1, 0, 0, "planner"), Place(1, 0, 0, "analyst")

    async def wait() -> None:
        threading.Timer(0.2, lambda: setattr(job, "server", None)).start()  # its host is gone
        await job.stages[1].turns(planner, list)

    with pytest.raises(LostContact, match="rank 0: the turn of planner"):
        asyncio.run(wait())

    def post() -> None:
        for _ in range(50):  # the first letters after the loss still leave this machine
            asyncio.run(job.stages[1].turns(analyst, lambda: turns(analyst)))
            time.sleep(0.02)

    with pytest.raises(LostContact, match="the store: posting its turns"):
        post()


def test_a_letter_may_be_larger_than_the_store_takes_at_once():
    job = Job(2)

    def long(where: Place) -> list[Turn]:
        return [Turn(where.agent, 0, (12345,) * 1_200_000, (1,), (-1.0,), "", True, 0)]

    for found in job.play(1, speak=long).values():
        assert found[Place(1, 0, 0, "planner")] == long(Place(1, 0, 0, "planner"))


def test_a_failure_in_a_turn_is_not_waited_for():
    """On one host torchrun would end the others; on two, nobody else tells them."""
    job = Job(2, timeout=600.0)

    def fail(where: Place) -> list[Turn]:
        raise ZeroDivisionError

    async def one(rank: int) -> None:
        await job.stages[rank].turns(Place(1, 0, 0, "planner"), lambda: fail(Place(1, 0, 0, "planner")))

    with pytest.raises(ZeroDivisionError):
        asyncio.run(one(0))
    with pytest.raises(LostContact, match="rank 0") as told:
        asyncio.run(one(1))
    assert told.value.why == "rank 0 failed"
