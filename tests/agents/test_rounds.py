"""When a team may stop talking."""

import pytest
from support import question, turn

from maporl_cli.agents.rounds import flags_up, has_settled
from maporl_cli.core.types import Question

ASKED = question(options=["yes", "no", "maybe"])


def said(*texts, round=0):
    """A round of planner, analyst and reporter."""
    return [
        turn(agent, round=round, text=text)
        for agent, text in zip(("planner", "analyst", "reporter"), texts, strict=True)
    ]


def settled(*turns):
    return has_settled(ASKED, turns, "reporter")


@pytest.mark.parametrize(
    ("texts", "up"),
    [
        ([], []),
        (["all is well"], []),
        (["Safety flag: allergic"], [0]),
        (["I saw no safety flag at all"], []),
        (["SAFETY FLAG : allergic", "fine", "Safety flag: pregnant"], [0, 2]),
        (["Safety flag: allergic", "Flag answered: another drug"], []),
        (["Safety flag: allergic", "Safety flag: pregnant", "flag answered: both"], []),
        (["Safety flag: allergic", "Flag answered: yes", "Safety flag: still"], [2]),
        # an answer does not reach forward, not even within a turn
        (["Flag answered: early", "Safety flag: allergic"], [1]),
        (["Safety flag: old", "Flag answered: old. Safety flag: new"], [1]),
        (["Safety flag: old. Flag answered: by the same turn"], [0]),
    ],
)
def test_flags(texts, up):
    turns = [turn("analyst", text=text) for text in texts]
    assert flags_up(turns) == tuple(turns[index] for index in up)


def test_a_readable_answer_without_dissent_settles():
    assert settled(*said("look it up", "it is (A)", "Answer: A"))
    assert settled(*said("look it up", "no idea", "Answer: B"))


def test_no_readable_answer_does_not():
    assert not settled(*said("look it up", "it is (A)", "I am not sure"))


def test_dissent_asks_for_another_round():
    assert not settled(*said("look it up", "it is (B)", "Answer: A"))
    assert not settled(*said("(B)", "nothing", "Answer: A"))


def test_an_answer_repeated_against_dissent_settles():
    first = said("look it up", "it is (B)", "Answer: A")
    assert settled(*first, *said("again", "still (B)", "Answer: A", round=1))
    assert not settled(*first, *said("again", "now (A)", "Answer: B", round=1))
    assert not settled(*first, *said("again", "(A)", "I no longer know", round=1))


def test_only_the_round_before_counts_as_repeating():
    turns = [
        *said("-", "(B)", "Answer: A"),
        *said("-", "(A)", "Answer: B", round=1),
        *said("-", "(B)", "Answer: A", round=2),
    ]
    assert not settled(*turns)


def test_dissent_of_an_earlier_round_is_forgotten():
    assert settled(*said("-", "(B)", "Answer: A"), *said("-", "(B)", "Answer: B", round=1))
    assert settled(*said("-", "(A)", "not sure"), *said("-", "nothing", "Answer: B", round=1))


def test_a_safety_flag_keeps_the_team_talking_even_when_all_agree():
    assert not settled(*said("-", "(A). Safety flag: allergic", "Answer: A"))
    assert settled(*said("-", "(A). Safety flag: allergic", "Answer: A\nFlag answered: mild"))


def test_an_unanswered_flag_of_an_earlier_round_still_counts():
    first = said("-", "(A). Safety flag: allergic", "Answer: A")
    assert not settled(*first, *said("-", "(A)", "Answer: A", round=1))
    assert settled(*first, *said("-", "(A)", "Answer: A. Flag answered: mild", round=1))


def test_one_agent_alone_settles_with_its_answer():
    assert has_settled(ASKED, [turn("single", text="Answer: A")], "single")
    assert not has_settled(ASKED, [turn("single", text="hm")], "single")


def test_in_free_text_other_words_are_no_dissent():
    free = Question(id="f", text="Which drug?", options={}, answer="aspirin")
    assert has_settled(free, said("a plan", "I lean to heparin", "Answer: aspirin"), "reporter")
    assert not has_settled(free, said("a plan", "aspirin", " "), "reporter")


def test_saying_that_there_is_no_flag_raises_none():
    assert not flags_up([turn("analyst", text="Safety flag: none."), turn("analyst", text="safety flag: No")])
    assert flags_up([turn("analyst", text="Safety flag: nonetheless harmful")])
