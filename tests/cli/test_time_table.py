"""The table of where time went."""

from __future__ import annotations

from maporl_cli.cli.time_table import rows, time_lines


def rank(number: int, **phases: dict) -> dict:
    return {"rank": number, "seconds": sum(one["seconds"] for one in phases.values()), "phases": phases}


def spent(seconds: float, **parts: float) -> dict:
    return {"seconds": seconds, "parts": parts}


TWO = [
    rank(0, rollout=spent(6.0, turns=4.5), other=spent(2.0)),
    rank(1, rollout=spent(5.0, turns=1.0, waiting=0.5), report=spent(4.0), other=spent(1.0)),
]


def test_each_rank_has_its_seconds_and_what_is_left_comes_last():
    assert rows(TWO) == [
        ("rollout", [6.0, 5.0]),
        ("  turns", [4.5, 1.0]),
        ("  waiting", [0.0, 0.5]),
        ("report", [0.0, 4.0]),
        ("other", [2.0, 1.0]),
        ("run", [8.0, 10.0]),
    ]


def test_a_cell_has_seconds_and_their_share_of_the_ranks_run():
    lines = [line.split() for line in time_lines(TWO)]
    assert lines[0] == ["seconds", "in", "rank", "0", "rank", "1"]
    assert lines[2:] == [
        ["rollout", "6.0", "75%", "5.0", "50%"],
        ["turns", "4.5", "56%", "1.0", "10%"],
        ["waiting", "0.0", "0%", "0.5", "5%"],
        ["report", "0.0", "0%", "4.0", "40%"],
        ["other", "2.0", "25%", "1.0", "10%"],
        ["run", "8.0", "100%", "10.0", "100%"],
    ]


def test_a_part_that_took_next_to_nothing_has_no_row():
    told = [rank(0, update=spent(100.0, learning=0.4, waiting=0.6))]
    assert [name for name, _ in rows(told)] == ["update", "  waiting", "run"]


def test_many_ranks_stand_in_several_tables_and_very_many_are_left_to_json():
    lines = [*time_lines([rank(number, other=spent(1.0)) for number in range(20)])]
    heads = [line.split()[2:] for line in lines if line.strip().startswith("seconds in")]
    assert [len(head) // 2 for head in heads] == [4, 4, 4, 4]
    assert heads[-1] == "rank 12 rank 13 rank 14 rank 15".split()
    assert lines[-1] == "Those are 16 of 20 ranks; --json tells of all."
    assert max(map(len, lines)) <= 80


def test_no_profile_no_table():
    assert list(time_lines([])) == []
