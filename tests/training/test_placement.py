"""Who has which agents: by hand, and what must hold for every size that fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.core.errors import ConfigError
from maporl_cli.training.placement import even_parts, fits, fitting_sizes, place

TEAM = ("planner", "researcher", "analyst", "reporter")


def agents_of(count: int, **options) -> list[tuple[int | None, tuple[str, ...]]]:
    return [(rank.replica, rank.agents) for rank in place(TEAM, count, **options).ranks]


def test_by_hand():
    assert agents_of(1) == [(0, TEAM)]
    assert agents_of(2) == [(0, ("planner", "reporter")), (0, ("researcher", "analyst"))]
    assert agents_of(4) == [(0, (agent,)) for agent in TEAM]
    assert agents_of(8) == [(replica, (agent,)) for replica in (0, 1) for agent in TEAM]
    assert place(TEAM, 8).ranks_of("analyst") == (2, 6)
    assert place(TEAM, 8).owner("analyst", 1) == 6
    assert [place(TEAM, 8).seat(rank) for rank in (0, 3, 4, 6)] == [(0, 4), (3, 4), (0, 4), (2, 4)]


def test_hosts_get_neighbouring_ranks():
    assert [rank.node for rank in place(TEAM, 8, nodes=2).ranks] == [0] * 4 + [1] * 4
    assert place(TEAM, 8, nodes=2).nodes == 2
    with pytest.raises(ConfigError, match="4 ranks cannot be spread evenly over 3 hosts"):
        place(TEAM, 4, nodes=3)


def test_ranks_beyond_the_replicas_have_nothing_to_do():
    assert agents_of(8, replicas=1) == [(0, (agent,)) for agent in TEAM] + [(None, ())] * 4
    alone = place(("single",), 4, replicas=2)
    assert [(rank.replica, rank.agents) for rank in alone.ranks] == [
        (0, ("single",)),
        (1, ("single",)),
        (None, ()),
        (None, ()),
    ]
    assert alone.seat(3) == (0, 1)
    assert alone.replicas == 2


@pytest.mark.parametrize("count", [3, 5, 6, 7, 9, 0, -4])
def test_what_does_not_fit_names_the_sizes_that_do(count):
    with pytest.raises(ConfigError) as told:
        place(TEAM, count)
    assert told.value.fix.startswith("use 1, 2, 4, 8, 12, 16 …")
    assert not fits(4, count)


@given(st.integers(1, 9), st.integers(1, 40))
def test_every_replica_has_every_agent_once(agents, count):
    names = tuple(f"a{index}" for index in range(agents))
    if not fits(agents, count):
        with pytest.raises(ConfigError):
            place(names, count)
        return
    placement = place(names, count)
    assert placement.world_size == count
    for replica in range(placement.replicas):
        there = [name for rank in placement.replica(replica) for name in rank.agents]
        assert sorted(there) == sorted(names)
        assert all(list(rank.agents) == sorted(rank.agents) for rank in placement.replica(replica)), (
            "in speaking order"
        )
    for name in names:
        assert len(placement.ranks_of(name)) == placement.replicas
    assert len({len(rank.agents) for rank in placement.ranks}) == 1, "every rank has equally much to do"


@pytest.mark.parametrize(("agents", "count"), [(4, 2), (8, 2), (8, 4), (12, 3)])
def test_who_speaks_late_is_spread_evenly(agents, count):
    """Prompts grow by a turn with every speaker: no rank reads more than another."""
    placement = place([str(index) for index in range(agents)], count)
    read = {sum(int(name) for name in rank.agents) for rank in placement.ranks}
    assert len(read) == 1


@given(st.integers(1, 9))
def test_the_sizes_named_fit(agents):
    sizes = fitting_sizes(agents)
    assert sizes[0] == 1
    assert agents in sizes
    assert all(fits(agents, size) for size in sizes)


@given(st.lists(st.integers()), st.integers(1, 9))
def test_parts_are_even_and_lose_nothing(items, count):
    parts = even_parts(items, count)
    assert [item for part in parts for item in part] == items
    assert len(parts) == count
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
