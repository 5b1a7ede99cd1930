"""The schedule played out: by hand, and against what the ideal allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.training.placement import place
from maporl_cli.training.schedule import play_out

TEAM = ("planner", "researcher", "analyst", "reporter")


def equal(*_: object) -> float:
    return 1.0


def test_one_rank_never_waits():
    assert play_out(place(TEAM, 1), 5, 2, equal, letter=0.5) == (40.0, {0: 40.0})


def test_the_naive_order_keeps_three_of_four_ranks_waiting():
    seconds, busy = play_out(place(TEAM, 4), 1, 1, equal)
    assert (seconds, busy) == (4.0, dict.fromkeys(range(4), 1.0))


def test_a_wavefront_by_hand():
    """Three batches: the reporter ends the last after 3 + 3 turns."""
    assert play_out(place(TEAM, 4), 3, 1, equal)[0] == 6.0
    assert play_out(place(TEAM, 4), 3, 1, equal, letter=0.25)[0] == 7.0, (
        "three letters on the way to the first report, and the last report's to the others"
    )


def test_two_agents_a_rank_finish_the_oldest_batch_first():
    """Rank 1 analyses batch 0 before it researches batch 1, though that came earlier."""
    order: list[tuple[int, str]] = []

    def spoken(batch: int, round: int, agent: str) -> float:
        order.append((batch, agent))
        return 1.0

    assert play_out(place(TEAM, 2), 4, 1, spoken)[0] == 1 + 8 + 1
    on_rank_1 = [(batch, agent) for batch, agent in order if agent in ("researcher", "analyst")]
    assert on_rank_1 == [(batch, agent) for batch in range(4) for agent in ("researcher", "analyst")]


def test_a_second_round_waits_for_the_first():
    assert play_out(place(TEAM, 4), 1, 2, equal)[0] == 8.0
    assert play_out(place(TEAM, 4), 4, 2, equal)[0] == 4 + 4 + 3


@given(
    st.integers(1, 12),
    st.integers(1, 3),
    st.sampled_from([1, 2, 4]),
    st.lists(st.floats(0.1, 5.0), min_size=4, max_size=4),
    st.floats(0, 0.5),
)
def test_no_schedule_beats_its_busiest_rank_or_its_longest_batch(batches, rounds, count, seconds, letter):
    placement = place(TEAM, count)
    spent = dict(zip(TEAM, seconds, strict=True))
    whole, busy = play_out(
        placement, batches, rounds, lambda _batch, _round, agent: spent[agent], letter=letter
    )
    for rank in placement.ranks:
        assert busy[rank.rank] == pytest.approx(batches * rounds * sum(spent[a] for a in rank.agents))
    assert whole >= max(busy.values()) - 1e-9
    assert whole >= rounds * sum(seconds) - 1e-9
    letters = batches * rounds * 4 * letter
    assert whole <= batches * rounds * sum(seconds) + letters + 1e-9, (
        "somebody speaks, or a letter is on its way"
    )


def test_many_microbatches_keep_the_ranks_busy():
    idle = {}
    for batches in (1, 16):
        seconds, busy = play_out(place(TEAM, 4), batches, 1, equal, letter=0.003)
        idle[batches] = 1 - sum(busy.values()) / 4 / seconds
    assert idle[1] == pytest.approx(0.75, abs=0.01)
    assert idle[16] < 0.2


class TestHandling:
    """Every rank takes note of every turn."""

    def test_one_rank_does_so_after_each(self):
        seconds, spoken = play_out(place(TEAM, 1), 3, 1, equal, handling=0.25)
        assert (seconds, spoken) == (12 * 1.25, {0: 12.0})

    def test_between_ranks_it_lies_on_the_way(self):
        """Turn, note, turn, note: who waits takes note at once, whose turn it is and whose it is not."""
        assert play_out(place(TEAM, 2), 1, 1, equal, handling=0.25)[0] == 5.0
        assert play_out(place(TEAM, 4), 1, 1, equal, handling=0.25)[0] == 5.0

    def test_what_is_on_the_way_is_not_noted_yet(self):
        """Of two ranks the second hears after a letter, and notes it then; its own turn it notes at once."""
        both = {"letter": 0.25, "handling": 0.25}
        assert play_out(place(TEAM, 2), 1, 1, equal, **both)[0] == 1 + 0.5 + 1 + 0.25 + 1 + 0.5 + 1 + 0.5
        assert play_out(place(TEAM, 4), 1, 1, equal, **both)[0] == 4 + 4 * 0.5

    def test_a_busy_rank_takes_note_later(self):
        """Both ranks speak from 4 to 5, and then take two notes each before one speaks again."""
        seconds, spoken = play_out(place(TEAM, 2), 2, 1, equal, handling=0.25)
        assert spoken == {0: 4.0, 1: 4.0}
        assert seconds == 8.0
