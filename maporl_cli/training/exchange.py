"""Turns between the ranks of a replica: the owner of an agent takes them, every rank learns them.

A letter is one agent's turns on one batch. Each rank posts its letters to the job's key-value
store under running numbers, and listens to each of its mates in a thread of its own, which blocks
in the store's client and costs nothing. Letters therefore arrive while this rank speaks.
"""

# torch.distributed leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from itertools import count

import torch.distributed as dist

from maporl_cli.agents.stage import Floor, Place, Speak, stopped
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.types import Snippet, Turn
from maporl_cli.training.placement import Placement
from maporl_cli.training.ranks import LostContact

_STOPPED = b"stopped"
_FAILED = b"failed"
_PART = 4 * 2**20
"""Bytes of a letter that go into one value: torch's store drops the connection of who sends 8 MiB at once."""
_PATIENCE = timedelta(
    days=365
)  # of listeners, who live as long as their rank; waits have a timeout of their own


class Exchange:
    """The stage of a team whose agents are spread over the ranks of a replica.

    Args:
        placement: who has which agents.
        rank: which rank this is.
        store: where letters are posted, under names that nobody else uses.
        timeout: seconds to wait for a turn while its rank sends no letter at all.
        floor: where this rank's own agents speak.
        stopping: whether this rank was asked to stop.
    """

    def __init__(
        self,
        placement: Placement,
        rank: int,
        store: dist.Store,
        timeout: float,
        floor: Floor,
        stopping: Callable[[], bool],
    ) -> None:
        self._rank = rank
        self._store = store
        self._timeout = timeout
        self._floor = floor
        self._stopping = stopping
        mine = placement.ranks[rank]
        self._owners = {
            agent: place.rank for place in placement.replica(mine.replica or 0) for agent in place.agents
        }
        mates = sorted({owner for owner in self._owners.values() if owner != rank})
        self._posted = 0
        self._plays: dict[int, list[str]] = {}
        self._plays_lock = threading.Lock()
        self._box = _Box(mates)
        for mate in mates if mine.replica is not None else ():
            ear: dist.Store = store.clone()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
            threading.Thread(target=self._listen, args=(mate, ear), daemon=True).start()

    async def turns(self, place: Place, speak: Speak) -> list[Turn]:
        """The turns that belong at `place`, taken here and posted, or taken elsewhere and received.

        Raises:
            Interrupted: this rank was asked to stop, or another of the replica was.
            LostContact: the rank that has the agent sent nothing for too long.
        """
        owner = self._owners[place.agent]
        try:
            if owner != self._rank:
                return await self._receive(place, owner)
            turns = await self._floor.turns(place, speak)
        except Interrupted:
            self._post(place.play, _STOPPED)  # a mate may not have been asked itself
            raise
        except LostContact:
            raise
        except Exception:
            self._post(place.play, _FAILED)  # on another host, nobody else would tell the mates
            raise
        self._post(place.play, _written(place, turns))
        return turns

    def _post(self, play: int, letter: bytes) -> None:
        key = f"{self._rank}/{self._posted}"
        self._posted += 1
        parts = [letter[start : start + _PART] for start in range(0, len(letter), _PART)]
        keys = [key, *(f"{key}/{number}" for number in range(1, len(parts)))]
        with self._plays_lock:
            self._plays.setdefault(play, []).extend(keys)
        parts[0] = f"{len(parts)}:".encode() + parts[0]
        with self._store_there():
            # The first comes last: whoever sees it sees all.
            for name, part in reversed(list(zip(keys, parts, strict=True))):
                self._store.set(name, part)  # pyright: ignore[reportArgumentType]

    def _tidy(self, play: int, store: dist.Store) -> None:
        """Take down what everybody has read, when a mate's letter of `play` has come.

        A rank posts in a play only after it has read all of the play before. So this mate has heard
        from everybody in the last play, and everybody has read the one before that. A listener does
        it, who may wait for a store that is gone; a rank that speaks must not.
        """
        with self._plays_lock:
            old = [number for number in self._plays if number < play - 1]
            keys = [key for number in old for key in self._plays.pop(number)]
        for key in keys:
            store.delete_key(key)

    @contextmanager
    def _store_there(self) -> Generator[None]:
        try:
            yield
        except RuntimeError as error:
            raise LostContact("posting its turns", "the store", str(error).splitlines()[0]) from error

    def _listen(self, mate: int, store: dist.Store) -> None:
        store.set_timeout(_PATIENCE)
        for number in count():
            try:
                letter = _whole(store, f"{mate}/{number}")
                if letter == _STOPPED:
                    self._box.put(mate, None)
                elif letter == _FAILED:
                    self._box.fail(RuntimeError(f"rank {mate} failed"))
                else:
                    place, turns = _read(letter)
                    self._box.put(mate, (place, turns))
                    self._tidy(place.play, store)
            except RuntimeError as error:  # the store is gone, and with it the rank that keeps it
                self._box.fail(error)
                return

    async def _receive(self, place: Place, owner: int) -> list[Turn]:
        arrived = self._box.expect(place)
        began = time.monotonic()
        while True:
            turns = await self._box.wait(arrived, place)
            if turns is not None:
                return turns
            if self._stopping() or self._box.stopped:
                raise stopped()
            silent = time.monotonic() - max(began, self._box.heard[owner])
            if self._box.error is not None or silent > self._timeout:
                raise LostContact(
                    f"the turn of {place.agent} in round {place.round + 1} on microbatch {place.batch + 1}",
                    f"rank {owner}",
                    str(self._box.error or f"it sent nothing for {silent:.0f} s").splitlines()[0],
                )


class _Box:
    """Letters that arrived, and who waits for one; written by listeners, read by the play."""

    def __init__(self, mates: list[int]) -> None:
        self._lock = threading.Lock()
        self._letters: dict[Place, list[Turn]] = {}
        self._waiting: dict[Place, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = {}
        self.heard = dict.fromkeys(mates, 0.0)
        self.stopped = False
        self.error: Exception | None = None

    def put(self, mate: int, letter: tuple[Place, list[Turn]] | None) -> None:
        with self._lock:
            self.heard[mate] = time.monotonic()
            if letter is None:
                self.stopped = True
                self._wake(list(self._waiting))
            else:
                place, turns = letter
                self._letters[place] = turns
                self._wake([place])

    def fail(self, error: Exception) -> None:
        with self._lock:
            self.error = error
            self._wake(list(self._waiting))

    def _wake(self, places: list[Place]) -> None:
        for place in places:
            if place in self._waiting:
                loop, arrived = self._waiting[place]
                with suppress(RuntimeError):  # the play was called off, and its loop is closed
                    loop.call_soon_threadsafe(arrived.set)

    def expect(self, place: Place) -> asyncio.Event:
        with self._lock:
            arrived = asyncio.Event()
            self._waiting[place] = (asyncio.get_running_loop(), arrived)
            if place in self._letters or self.stopped or self.error is not None:
                arrived.set()
            return arrived

    async def wait(self, arrived: asyncio.Event, place: Place) -> list[Turn] | None:
        """The turns of the letter; None after a while, or when there is something else to be seen to."""
        try:
            await asyncio.wait_for(arrived.wait(), timeout=0.5)
        except TimeoutError:
            return None
        with self._lock:
            turns = self._letters.pop(place, None)
            if turns is not None:
                del self._waiting[place]
            return turns


def _written(place: Place, turns: list[Turn]) -> bytes:
    return json.dumps({"place": asdict(place), "turns": [turn.record() for turn in turns]}).encode()


def _whole(store: dist.Store, key: str) -> bytes:
    """A letter out of its parts."""
    count, _, first = store.get(key).partition(b":")
    return first + b"".join(store.get(f"{key}/{number}") for number in range(1, int(count)))


def _read(letter: bytes) -> tuple[Place, list[Turn]]:
    told = json.loads(letter)
    return Place(**told["place"]), [
        Turn(
            **turn
            | {name: tuple(turn[name]) for name in ("prompt_ids", "token_ids", "logprobs")}
            | {"counted": tuple(turn["counted"]) if turn["counted"] else None}
            | {"evidence": tuple(Snippet(**snippet) for snippet in turn["evidence"])}
        )
        for turn in told["turns"]
    ]
