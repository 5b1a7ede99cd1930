from collections.abc import Callable, Sequence

import pytest

from maporl_cli.core.randomness import Draws, Sampled
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.evaluation.majority import Majority, elected, votes_for


class Voter:
    """Answers as its samples are told to, by question."""

    def __init__(self, answers: dict[str, list[str | None]]) -> None:
        self.answers = answers
        self.asked: list[list[tuple[str, int, int]]] = []

    def play_all(
        self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
    ) -> None:
        for index, batch in enumerate(batches):
            self.asked.append([(one.question.id, one.sample, one.step) for one in batch])
            for one in batch:
                one.answer = self.answers[one.question.id][one.sample]
                one.turns.append(Turn("single", 0, (1,) * 5, (2,) * 3, (-1.0,) * 3, str(one.answer), True, 0))
            assert on_end is not None
            on_end(index)


@pytest.mark.parametrize(
    ("answers", "answer"),
    [
        (["A", "B", "B"], "B"),
        (["B", "A", "A", "B"], "B"),  # as many: the one that was given first
        ([None, None, "C"], "C"),  # what cannot be read does not vote
        ([None, None], None),
    ],
)
def test_most_votes_win(answers: list[str | None], answer: str | None) -> None:
    assert elected(answers) == answer


def test_each_question_is_asked_so_often_and_its_votes_are_its_cost() -> None:
    voter = Voter({"q0": ["A", "B", "B"], "q1": ["C", "C", "A"]})
    episodes = [
        Episode(Question(id, "?", {"A": "a", "B": "b", "C": "c"}, "B"), sample=0, step=7)
        for id in ("q0", "q1")
    ]
    ended: list[int] = []
    Majority(voter, 3).play_all([episodes[:1], episodes[1:]], Sampled(0), ended.append)
    assert voter.asked == [[("q0", vote, 7) for vote in range(3)], [("q1", vote, 7) for vote in range(3)]]
    assert [one.answer for one in episodes] == ["B", "C"]
    assert [turn.text for turn in episodes[0].turns] == ["A", "B", "B"]
    assert sum(turn.tokens for turn in episodes[0].turns) == 24
    assert ended == [0, 1]


@pytest.mark.parametrize(
    ("team", "agent", "votes"), [(400, 100, 4), (390, 100, 4), (340, 100, 3), (50, 100, 1)]
)
def test_votes_cost_about_what_the_team_does(team: int, agent: int, votes: int) -> None:
    assert votes_for(team, agent) == votes
