"""Which rank has which agents: a pure function of the team's size and the number of ranks.

A *replica* is a full set of agents. Up to as many ranks as agents share one replica, each with
as many agents as the others; beyond that, every agent has a rank of its own in each replica.

Ranks are filled back and forth: of four agents on two ranks, the first and the last share one. Who
speaks later reads more, so neighbours on a rank would leave the last rank with most of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from maporl_cli.core.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RankPlace:
    """One rank.

    Attributes:
        node: index of its host.
        replica: index of its replica; None for a rank that has nothing to do.
        agents: those whose policies it holds, in speaking order.
    """

    rank: int
    node: int
    replica: int | None
    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Every rank's place, in the order of ranks."""

    agents: tuple[str, ...]
    replicas: int
    ranks: tuple[RankPlace, ...]

    @property
    def nodes(self) -> int:
        """How many hosts the ranks are on."""
        return 1 + max(place.node for place in self.ranks)

    @property
    def world_size(self) -> int:
        """How many ranks there are, those with nothing to do included."""
        return len(self.ranks)

    def ranks_of(self, agent: str) -> tuple[int, ...]:
        """The ranks that hold the agent's policy, one a replica."""
        return tuple(place.rank for place in self.ranks if agent in place.agents)

    def replica(self, index: int) -> tuple[RankPlace, ...]:
        """The ranks of a replica."""
        return tuple(place for place in self.ranks if place.replica == index)

    def seat(self, rank: int) -> tuple[int, int]:
        """Which of how many ranks of its replica the rank is; 0 of 1 where it has no replica."""
        index = self.ranks[rank].replica
        mates = [place.rank for place in self.ranks if place.replica == index]
        return (0, 1) if index is None else (mates.index(rank), len(mates))

    def owner(self, agent: str, replica: int) -> int:
        """The rank of a replica that holds the agent's policy."""
        return self.ranks_of(agent)[replica]


def place(agents: Sequence[str], world_size: int, nodes: int = 1, replicas: int | None = None) -> Placement:
    """Place the agents on `world_size` ranks over `nodes` hosts of equally many ranks.

    Ranks of a replica are neighbours, so that a replica stays on one host where it fits there.

    Args:
        replicas: no more than so many, and the ranks beyond them have nothing to do;
            None: as many as fill the ranks.

    Raises:
        ConfigError: the ranks cannot be filled evenly; names the sizes that can.
    """
    count = len(agents)
    if not fits(count, world_size):
        raise ConfigError(
            f"{count} agents cannot be placed evenly on {world_size} ranks.",
            where=f"world size {world_size}",
            why="every rank holds equally many agents, or every agent has a rank of its own in each replica",
            fix=f"use {_listed(fitting_sizes(count))} … ranks (--nproc)",
        )
    if world_size % nodes:
        raise ConfigError(
            f"{world_size} ranks cannot be spread evenly over {nodes} hosts.",
            fix="start equally many ranks on every host (torchrun --nproc-per-node)",
        )
    each = min(count, world_size)  # ranks of a replica
    filled = world_size // each if replicas is None else min(replicas, world_size // each)
    seated: list[list[str]] = [[] for _ in range(each)]
    for index, agent in enumerate(agents):
        lap, seat = divmod(index, each)
        seated[seat if lap % 2 == 0 else each - 1 - seat].append(agent)
    places: list[RankPlace] = []
    for rank in range(world_size):
        replica, seat = divmod(rank, each)
        node = rank // (world_size // nodes)
        if replica < filled:
            places.append(RankPlace(rank, node, replica, tuple(seated[seat])))
        else:
            places.append(RankPlace(rank, node, None, ()))
    return Placement(tuple(agents), filled, tuple(places))


def even_parts(items: Sequence[T], count: int) -> list[list[T]]:
    """The items in `count` neighbouring parts, whose sizes differ by one at most."""
    bounds = [len(items) * part // count for part in range(count + 1)]
    return [list(items[start:end]) for start, end in pairwise(bounds)]


def fits(agents: int, world_size: int) -> bool:
    """Whether so many agents can be placed evenly on so many ranks."""
    return world_size >= 1 and (agents % world_size == 0 or world_size % agents == 0)


def fitting_sizes(agents: int) -> list[int]:
    """The numbers of ranks that fit, up to four replicas; beyond, every multiple of `agents` does."""
    return [size for size in range(1, 4 * agents + 1) if fits(agents, size)]


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(str(size) for size in sizes)
