"""What a trainer may ask of the ranks of its job, and the answer where there is only one.

Every method is a collective: each rank of the job (of the replica, of the agent) calls it at the
same point, also one that has nothing to contribute, or the others wait for it in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from maporl_cli.agents.stage import Floor, Stage
from maporl_cli.core.errors import RunFailed
from maporl_cli.core.timeline import Timeline
from maporl_cli.training.placement import Placement, RankPlace, even_parts

T = TypeVar("T")
Files = dict[str, bytes]
"""What an agent's rank hands over to be written, by file name."""


class Ranks(Protocol):
    """All ranks of a job, as one of them sees them.

    Attributes:
        placement: who has which agents.
        rank: which of them this is.
    """

    placement: Placement
    rank: int

    def gather(self, value: T, what: str) -> list[T]:
        """Every rank's value in the order of ranks, on rank 0; an empty list on the others.

        Args:
            what: names the exchange, for errors.
        """
        ...

    def broadcast(self, value: T, what: str) -> T:
        """Rank 0's value, on every rank."""
        ...

    def any(self, flag: bool, what: str) -> bool:
        """Whether the flag is set on any rank, on every rank."""
        ...

    def gather_in_replica(self, value: T, what: str) -> list[T]:
        """Every value of the replica's ranks, on each of them."""
        ...

    def sum_over_replicas(self, agent: str, tensor: Tensor) -> None:
        """Replace the tensor by its sum over the ranks that hold `agent`, on each of them."""
        ...

    def hand_over(self, agent: str, make: Callable[[str], Files]) -> Files:
        """What the agent's rank in replica 0 makes of the agent, on rank 0; nothing elsewhere."""
        ...

    def hand_out(self, agent: str, read: Callable[[str], Files]) -> Files:
        """What rank 0 reads of the agent, on every rank that holds it; nothing elsewhere."""
        ...

    def placed(self, placement: Placement) -> Ranks:
        """The same ranks with other agents."""
        ...

    def tell(self, timeline: Timeline) -> None:
        """Have the timeline told when this rank waits for others, also those of `placed`."""
        ...

    def stage(self, floor: Floor, stopping: Callable[[], bool]) -> Stage:
        """Where the turns of these agents are taken.

        Args:
            floor: where this rank's own agents speak.
            stopping: whether this rank was asked to stop.
        """
        ...


def place_of(ranks: Ranks) -> RankPlace:
    """This rank's place."""
    return ranks.placement.ranks[ranks.rank]


def share_of(ranks: Ranks, items: Sequence[T]) -> list[T]:
    """The part of the items that this rank's replica works on; nothing for a rank without agents."""
    replica = place_of(ranks).replica
    return [] if replica is None else even_parts(items, ranks.placement.replicas)[replica]


def gathered(ranks: Ranks, items: Sequence[T], what: str) -> list[T]:
    """The items of every rank, in the order of ranks, on each of them."""
    return ranks.broadcast([one for told in ranks.gather(items, what) for one in told], what)


class OneRank:
    """A job of one rank, which has every agent."""

    rank = 0

    def __init__(self, placement: Placement) -> None:
        self.placement = placement

    def gather(self, value: T, what: str) -> list[T]:
        return [value]

    def broadcast(self, value: T, what: str) -> T:
        return value

    def any(self, flag: bool, what: str) -> bool:
        return flag

    def gather_in_replica(self, value: T, what: str) -> list[T]:
        return [value]

    def sum_over_replicas(self, agent: str, tensor: Tensor) -> None:
        return None

    def hand_over(self, agent: str, make: Callable[[str], Files]) -> Files:
        return make(agent)

    def hand_out(self, agent: str, read: Callable[[str], Files]) -> Files:
        return read(agent)

    def placed(self, placement: Placement) -> Ranks:
        return OneRank(placement)

    def tell(self, timeline: Timeline) -> None:
        return None

    def stage(self, floor: Floor, stopping: Callable[[], bool]) -> Stage:
        return floor


class LostContact(RunFailed):
    """A rank waited for another in vain: it is gone, hangs, or the network between them is."""

    def __init__(self, what: str, others: str, why: str) -> None:
        super().__init__(
            f"It waited in vain for {others}: {what}.",
            why=why,
            fix="look at logs/rank_*.log of the run for the rank that stopped first; go on with --resume. "
            "Where a rank only needs longer, raise placement.timeout",
        )
