"""The ranks of a job as `torch.distributed` processes, started by `torchrun` or its API."""

# torch.distributed leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportPrivateImportUsage=false

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from maporl_cli.agents.stage import Floor, Stage
from maporl_cli.core.timeline import Timeline
from maporl_cli.training.exchange import Exchange
from maporl_cli.training.placement import Placement
from maporl_cli.training.ranks import Files, LostContact, Ranks
from maporl_cli.training.roll_call import RollCall

T = TypeVar("T")
OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""Set to 1, torchrun gives restarted ranks a store of their own. Else they share its own store with the
ranks before them, find the addresses of the dead there, and hang."""

_ALL = "all ranks"


class ProcessGroup:
    """The ranks of a job that was joined by `join`.

    Args:
        placement: who has which agents.
        rank: which rank this is.
        store: the job's key-value store.
        timeout: seconds that a collective waits for the other ranks.
        teams: numbers for the teams to come; None for the first.
        timeline: told when this rank waits; None: nobody is.
    """

    def __init__(
        self,
        placement: Placement,
        rank: int,
        store: dist.Store,
        timeout: float,
        teams: Iterator[int] | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        self._timeline = timeline or Timeline()
        self.placement = placement
        self.rank = rank
        self._store = store
        self._timeout = timeout
        # Every rank opens the same teams in the same order, and so gives them the same numbers.
        self._teams = count() if teams is None else teams
        self._team = next(self._teams)
        self._roll_call = RollCall(dist.PrefixStore(f"roll call {self._team}", store), rank)
        self._everyone = range(placement.world_size)
        mine = placement.ranks[rank]
        self._replica: Any = None
        self._agents: dict[str, Any] = {}
        # Every rank takes part in making every group, in the same order.
        for replica in range(placement.replicas):
            group = self._group([place.rank for place in placement.replica(replica)], "gloo")
            if mine.replica == replica:
                self._replica = group
        # Only gradients are worth the GPUs' own network; everything else is small and on the host.
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        for agent in placement.agents if placement.replicas > 1 else ():
            group = self._group(placement.ranks_of(agent), backend)
            if agent in mine.agents:
                self._agents[agent] = group

    def _group(self, ranks: Sequence[int], backend: str) -> Any:
        with self._waiting("making the groups of ranks", _ALL, self._everyone):
            return dist.new_group(list(ranks), timeout=timedelta(seconds=self._timeout), backend=backend)

    def gather(self, value: T, what: str) -> list[T]:
        found: list[Any] | None = [None] * self.placement.world_size if self.rank == 0 else None
        with self._waiting(what, _ALL, self._everyone):
            dist.gather_object(value, found)
        return cast("list[T]", found or [])

    def broadcast(self, value: T, what: str) -> T:
        box = [value if self.rank == 0 else None]
        with self._waiting(what, _ALL, self._everyone):
            dist.broadcast_object_list(box)
        return cast("T", box[0])

    def any(self, flag: bool, what: str) -> bool:
        set_by = torch.tensor(int(flag))
        with self._waiting(what, _ALL, self._everyone):
            dist.all_reduce(set_by, op=dist.ReduceOp.MAX)
        return bool(set_by)

    def gather_in_replica(self, value: T, what: str) -> list[T]:
        if self._replica is None:
            return [value]
        found: list[Any] = [None] * dist.get_world_size(self._replica)
        with self._waiting(what, "the ranks of its replica", dist.get_process_group_ranks(self._replica)):
            dist.all_gather_object(found, value, group=self._replica)
        return found

    def sum_over_replicas(self, agent: str, tensor: Tensor) -> None:
        if self.placement.replicas > 1:
            ranks = self.placement.ranks_of(agent)
            with self._waiting(f"the sum over the replicas of {agent}", f"the ranks of {agent}", ranks):
                dist.all_reduce(tensor, group=self._agents[agent])

    def hand_over(self, agent: str, make: Callable[[str], Files]) -> Files:
        owner = self.placement.owner(agent, 0)
        if owner == 0:
            return make(agent) if self.rank == 0 else {}
        if self.rank == owner:
            self._send(make(agent), 0, agent)
        return self._receive(owner, agent) if self.rank == 0 else {}

    def hand_out(self, agent: str, read: Callable[[str], Files]) -> Files:
        owners = self.placement.ranks_of(agent)
        if self.rank != 0:
            return self._receive(0, agent) if self.rank in owners else {}
        files = read(agent)
        for owner in owners:
            if owner != 0:
                self._send(files, owner, agent)
        return files if 0 in owners else {}

    def placed(self, placement: Placement) -> Ranks:
        return ProcessGroup(
            placement, self.rank, self._store, self._timeout, teams=self._teams, timeline=self._timeline
        )

    def tell(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def stage(self, floor: Floor, stopping: Callable[[], bool]) -> Stage:
        mail = dist.PrefixStore(f"team {self._team}", self._store)
        return Exchange(self.placement, self.rank, mail, self._timeout, floor, stopping)

    def _send(self, files: Files, to: int, agent: str) -> None:
        """One file at a time, so that at most one is in memory twice."""
        with self._waiting(f"sending the files of {agent}", f"rank {to}"):
            dist.send_object_list([{name: len(content) for name, content in files.items()}], dst=to)
            for content in files.values():
                if content:  # nothing is no message
                    dist.send(torch.frombuffer(bytearray(content), dtype=torch.uint8), dst=to)

    def _receive(self, sender: int, agent: str) -> Files:
        with self._waiting(f"receiving the files of {agent}", f"rank {sender}"):
            box: list[Any] = [None]
            dist.recv_object_list(box, src=sender)
            files: Files = {}
            for name, size in box[0].items():
                content = torch.empty(size, dtype=torch.uint8)
                if size:
                    dist.recv(content, src=sender)
                files[name] = content.numpy().tobytes()
            return files

    @contextmanager
    def _waiting(self, what: str, others: str, ranks: Sequence[int] = ()) -> Generator[None]:
        """Around each wait.

        Args:
            others: for whom; in a collective, the name of its group.
            ranks: those of the collective.
        """
        if ranks:
            self._roll_call.enter(others)
        try:
            with self._timeline.waiting(what):
                yield
        except torch.OutOfMemoryError:
            raise  # a RuntimeError that no other rank has to do with
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            if absent := self._roll_call.absent(others, ranks):
                others = f"rank{'s' if len(absent) > 1 else ''} {', '.join(map(str, absent))}"
            raise LostContact(what, others, str(error).splitlines()[0]) from error
