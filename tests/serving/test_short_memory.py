"""A team that has memory for a few questions at once, whatever a request holds."""

from __future__ import annotations

import weakref

import pytest
import torch
from served_run import body, questions, row

from maporl_cli.agents.policy import OutOfMemory
from maporl_cli.serving.handler import input_fn, predict_fn


def asked(*own):
    return input_fn(body([row(one) for one in own]), "application/json")


@pytest.fixture
def plays(team, monkeypatch) -> list[list[str]]:
    """The ids of the questions of each play that had memory enough: for three, and for none of `heavy`."""
    play, seen = team._session.team.play, []

    def narrow(episodes, draws):
        play(episodes, draws)  # some of them have turns already when the memory ends
        names = [episode.question.id for episode in episodes]
        if len(names) > 3 or "heavy" in names:
            raise OutOfMemory("planner", "sampling", "no memory", "eval.batch_size")
        seen.append(names)

    monkeypatch.setattr(team._session.team, "play", narrow)
    return seen


def test_a_request_is_answered_in_parts_and_put_together_in_order(team, plays):
    own = questions(10)
    runs = team.graph_runs
    together = predict_fn(asked(*own), team)
    assert [one["id"] for one in together] == [one.id for one in own]
    assert [name for play in plays for name in play] == [one.id for one in own]
    assert [len(play) for play in plays] == [2, 3, 2, 3]
    assert team.graph_runs - runs == 7, "each play counts, those that failed as well"
    assert together == [predict_fn(asked(one), team)[0] for one in own]


def test_many_requests_are_answered_in_parts_too(team, plays):
    own = questions(8)
    replies = team.answer([asked(*own[:5]), asked(*own[5:])])
    assert [[one["id"] for one in reply] for reply in replies] == [
        [one.id for one in own[:5]],
        [one.id for one in own[5:]],
    ]
    assert [len(play) for play in plays] == [2, 2, 2, 2]


def test_a_question_that_does_not_fit_alone_fails_its_request_and_no_other(team, plays):
    own = questions(5)
    heavy = input_fn(body([row(own[0]), row(own[1], id="heavy")]), "application/json")
    good, bad, last = team.answer([asked(own[2]), heavy, asked(*own[3:])])
    assert isinstance(bad, OutOfMemory)
    assert [one["id"] for one in (*good, *last)] == [one.id for one in own[2:]]
    with pytest.raises(OutOfMemory):
        predict_fn(heavy, team)


def test_an_error_that_is_told_later_holds_nothing(team, monkeypatch):
    """What filled the memory, such as keys and values, would still be there while others are played."""

    class Cache: ...

    caches: list[weakref.ref[Cache]] = []

    def full(episodes, draws):
        cache = Cache()
        caches.append(weakref.ref(cache))
        try:
            raise torch.OutOfMemoryError("there is none left")
        except torch.OutOfMemoryError as error:
            raise OutOfMemory("planner", "sampling", "no memory", "eval.batch_size") from error

    monkeypatch.setattr(team._session.team, "play", full)
    own = questions(2)
    replies = team.answer([asked(own[0]), asked(own[1])])
    assert all(isinstance(reply, OutOfMemory) for reply in replies)
    assert len(caches) > 1
    assert [held() for held in caches] == [None] * len(caches)
