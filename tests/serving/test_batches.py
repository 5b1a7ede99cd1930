"""Whose reply goes where, with a team that only repeats what it was asked."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from support import question

from maporl_cli.core.errors import DataError
from maporl_cli.serving import batches
from maporl_cli.serving.batches import Batches
from maporl_cli.serving.refusals import Busy, status_of
from maporl_cli.serving.requests import Asked
from maporl_cli.serving.served_team import ServedTeam


def asked(*names: str) -> Asked:
    return Asked(tuple(question(name) for name in names), names, is_list=len(names) != 1)


class Parrot(ServedTeam):
    """Answers with the texts of the questions; plays take as long as it is told to hold its breath."""

    def __init__(self, most: int = 8) -> None:
        self.most = most
        self.graph_runs = 0
        self.plays: list[list[int]] = []
        self.threads: set[str] = set()
        self.free = threading.Event()
        self.free.set()

    def _together(self, requests):
        self.free.wait(10)
        self.threads.add(threading.current_thread().name)
        self.plays.append([len(one.questions) for one in requests])
        texts = [[one.text for one in asked.questions] for asked in requests]
        if any("text of poison" in one for one in texts):
            raise KeyError("text of poison")
        return texts


def together(team: Parrot, *requests: Asked, cancel: int | None = None) -> list:
    """What becomes of requests that come while the team is busy with another one."""

    async def go() -> list:
        queue = Batches(team)
        running = asyncio.create_task(queue.run())
        team.free.clear()
        first = asyncio.create_task(queue.answer(asked("first")))
        await asyncio.sleep(0.02)
        waiting = [asyncio.create_task(queue.answer(one)) for one in requests]
        await asyncio.sleep(0.02)
        assert queue.waiting == sum(len(one.questions) for one in requests)
        if cancel is not None:
            waiting[cancel].cancel()
        team.free.set()
        assert await first == ["text of first"]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        running.cancel()
        return found

    return asyncio.run(go())


def test_those_who_wait_are_answered_together_each_with_its_own():
    team = Parrot()
    found = together(team, asked("a"), asked("b", "c"), asked("d"))
    assert found == [["text of a"], ["text of b", "text of c"], ["text of d"]]
    assert team.plays == [[1], [1, 2, 1]]
    assert len(team.threads) == 1
    assert team.threads != {threading.main_thread().name}


def test_the_same_id_twice_is_two_requests():
    requests = [Asked((question(name),), ("same",), is_list=False) for name in ("a", "b", "c")]
    assert together(Parrot(), *requests) == [["text of a"], ["text of b"], ["text of c"]]


def test_a_play_holds_no_more_than_it_may_but_always_one_request():
    team = Parrot(most=3)
    together(team, asked("a"), asked("b", "c"), asked("d", "e", "f", "g"), asked("h"), asked("i", "j"))
    assert team.plays == [[1], [1, 2], [4], [1, 2]]


def test_a_request_that_fails_fails_alone():
    team = Parrot()
    found = together(team, asked("a"), asked("b"), asked("poison", "c"), asked("d"), asked("e"))
    assert [found[place] for place in (0, 1, 3, 4)] == [[f"text of {name}"] for name in "abde"]
    assert isinstance(found[2], KeyError)
    assert [len(play) for play in team.plays] == [1, 5, 2, 3, 1, 2]


def test_who_has_gone_is_not_waited_for():
    found = together(Parrot(), asked("a"), asked("b"), cancel=0)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1] == ["text of b"]


def test_more_than_may_wait_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(batches, "WAITING", 2)
    found = together(Parrot(), asked("a"), asked("b"))
    assert found == [["text of a"], ["text of b"]]

    async def full() -> None:
        queue = Batches(Parrot())
        first = asyncio.create_task(queue.answer(asked("a", "b")))
        await asyncio.sleep(0)
        with pytest.raises(Busy) as told:
            await queue.answer(asked("c"))
        assert status_of(told.value) == 503
        first.cancel()

    asyncio.run(full())


def test_the_loop_goes_on_while_the_team_plays():
    async def go() -> float:
        team = Parrot()
        team.free.clear()
        queue = Batches(team)
        running = asyncio.create_task(queue.run())
        reply = asyncio.create_task(queue.answer(asked("a")))
        began = time.monotonic()
        await asyncio.sleep(0.05)
        passed = time.monotonic() - began
        assert not reply.done()
        team.free.set()
        await reply
        running.cancel()
        return passed

    assert asyncio.run(go()) < 5


def test_an_error_in_words_stays_one():
    class Refuses(Parrot):
        def _together(self, requests):
            raise DataError("Too long.", fix="shorten it")

    (error,) = Refuses().answer([asked("a")])
    assert isinstance(error, DataError)
