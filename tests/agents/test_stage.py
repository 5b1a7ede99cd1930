"""The order in which the agents of a rank speak."""

from __future__ import annotations

import asyncio

import pytest
from support import floor, turn

from maporl_cli.agents.stage import Floor, Place
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.timeline import Timeline


def speak(said: list, place: Place):
    def now():
        said.append((place.batch, place.agent))
        return [turn(place.agent)]

    return now


async def go_through(stage: Floor, said: list, batch: int, agents: str) -> None:
    for agent in agents:
        place = Place(1, batch, 0, agent)
        (taken,) = await stage.turns(place, speak(said, place))
        assert taken.agent == agent


def test_the_oldest_batch_goes_first():
    """A rank with two agents hands its first batch on early, instead of planning all of them first."""
    said: list[tuple[int, str]] = []

    async def play() -> None:
        stage = floor()
        await asyncio.gather(*(go_through(stage, said, batch, "pr") for batch in range(4)))

    asyncio.run(play())
    assert said == [(batch, agent) for batch in range(4) for agent in "pr"]


def test_one_speaks_at_a_time_and_an_error_ends_the_play():
    said: list[tuple[int, str]] = []

    async def play(stage: Floor) -> None:
        def fail():
            raise ValueError("no")

        await asyncio.gather(
            stage.turns(Place(1, 0, 0, "p"), fail), *(go_through(stage, said, batch, "p") for batch in (1, 2))
        )

    stage = floor()
    with pytest.raises(ValueError, match="no"):
        asyncio.run(play(stage))
    said.clear()
    asyncio.run(go_through(stage, said, 0, "pr"))
    assert said == [(0, "p"), (0, "r")], "a play that was called off leaves nothing that blocks the next"


def test_a_play_that_shall_stop_is_called_off_before_the_next_turn():
    said: list[tuple[int, str]] = []
    stage = floor(lambda: len(said) == 2)
    with pytest.raises(Interrupted):
        asyncio.run(go_through(stage, said, 0, "pra"))
    assert said == [(0, "p"), (0, "r")]


def test_who_spoke_is_in_the_timeline():
    timeline = Timeline(keep=True)
    said: list[tuple[int, str]] = []
    asyncio.run(go_through(Floor(timeline, lambda: False), said, 5, "pra"))
    spans = [(event["name"], event["args"]) for event in timeline.trace(0, "") if event["ph"] == "X"]
    assert spans == [(agent, {"batch": 5, "round": 0, "rows": 1, "tokens": 2}) for agent in "pra"]
