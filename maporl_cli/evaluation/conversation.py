"""What the agents' talk did to the answer: changes to the right one and away from it, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from maporl_cli.evaluation.records import Row, key_of, said


def changes(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """By round and agent, in speaking order: how often a turn stood for another answer than the one before.

    Only turns that stand for an answer count, and each is compared with the last one before it that does. The
    last turn stands for the answer that was read out of it.
    """
    found: dict[tuple[int, str], dict[str, int]] = {}
    for row in rows:
        turns = _turns(row)
        for turn in turns:
            place = (turn["round"], turn["agent"])
            found.setdefault(place, {"turns": 0, "stances": 0, "wrong_to_right": 0, "right_to_wrong": 0})
            found[place]["turns"] += 1
            found[place]["stances"] += turn["stance"] is not None
        for before, after in pairwise(turn for turn in turns if turn["stance"] is not None):
            was, now = before["stance"] == row["gold"], after["stance"] == row["gold"]
            found[after["round"], after["agent"]]["wrong_to_right"] += now and not was
            found[after["round"], after["agent"]]["right_to_wrong"] += was and not now
    return [
        {"round": round, "agent": agent, **counts}
        for (round, agent), counts in sorted(found.items(), key=lambda item: item[0][0])
    ]


def _turns(row: Row) -> list[dict[str, Any]]:
    """The turns, the last one with what was read out of it."""
    turns = row["turns"]
    return [*turns[:-1], {**turns[-1], "stance": row["answer"]}] if turns else []


def agreement(rows: Sequence[Row], shuffled: Sequence[Row]) -> float | None:
    """How often the same option is chosen when the options stand in another order; an unreadable answer is
    never the same. None where no question has options.

    Args:
        rows, shuffled: records of the same questions and seeds.
    """
    other = {key_of(row): _chosen(row) for row in shuffled}
    same = [
        _chosen(row) is not None and _chosen(row) == other[key_of(row)]
        for row in rows
        if len(row["options"]) > 1
    ]
    return sum(same) / len(same) if same else None


def _chosen(row: Row) -> str | None:
    """The text of the option that was answered."""
    return None if row["answer"] is None else said(row, row["answer"])
