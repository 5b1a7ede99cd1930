"""What a step's episodes say, by hand."""

from dataclasses import replace
from itertools import count

import pytest
from support import question, turn

from maporl_cli.agents.roles import Role
from maporl_cli.agents.team import Agent
from maporl_cli.core.types import Episode, Group, Score
from maporl_cli.training.metrics import StepShare, agreement, episodes_of, step_metrics

SAMPLES = count()


def played(answer, *turns, **components):
    score = Score(task=0.5, form=0.25, total=0.75, components=components, reasons={})
    return Episode(question(answer="A"), next(SAMPLES), 1, turns=list(turns), answer=answer, score=score)


SEATS = ("planner", "reporter")
AGENTS = [Agent(name, Role(name, (), ""), None, 8, 1.0) for name in SEATS]
"""How they speak is measured in test_conduct.py."""
TWO = [turn("planner", tokens=2), turn("reporter", tokens=3)]
FOUR = [*TWO, turn("planner", round=1, tokens=2, finished=False), turn("reporter", round=1, tokens=1)]


def measured(*episodes, dead=0, groups=2):
    metrics = step_metrics([StepShare([Group(episodes), *[Group(())] * (groups - 1)], dead, {}, 0.0)], AGENTS)
    return {name: value for name, value in metrics.items() if name.partition(":")[0] not in SEATS}


def test_by_hand():
    metrics = measured(
        played("A", *TWO, accuracy=1.0),
        played("B", *TWO, accuracy=0.0),
        played(None, *FOUR, accuracy=0.0),
        dead=1,
    )
    assert metrics == pytest.approx(
        {
            "train:accuracy": 1 / 3,
            "train:reward": 0.75,
            "train:task_reward": 0.5,
            "train:format": 0.25,
            "train:invalid": 1 / 3,
            "train:dead_groups": 0.5,
            "train:cut_turns": 1 / 8,
            "train:rounds": 4 / 3,
            # three prompt tokens a turn: 8 · 3 + (2 + 3) + (2 + 3) + (2 + 3 + 2 + 1)
            "train:tokens": 42.0,
        }
    )


def test_components_go_by_the_guides_names_and_only_where_they_were_measured():
    metrics = measured(
        played("A", *TWO, accuracy=1.0, safety=0.5, collaboration=1.0, brevity=0.5),
        played("A", *TWO, accuracy=1.0, safety=1.0),
    )
    assert metrics["safety:score"] == 0.75
    assert metrics["collaboration:score"] == 1.0, "the mean over the episodes that it applied to"
    assert metrics["reward:brevity"] == 0.5
    assert not {"medical:relevance", "evidence:quality", "reasoning:score"} & set(metrics)
    assert not any("accuracy" in name for name in set(metrics) - {"train:accuracy"})


def test_the_shares_of_several_ranks_are_one_step():
    """Two replicas of two ranks: one rank of each speaks for its episodes, each for its agent."""
    first = StepShare([Group([played("A", *TWO, accuracy=1.0)])], 1, {"planner:loss": 0.5}, 0.5)
    again = StepShare([], 0, {"reporter:loss": -0.25}, 0.25)
    second = StepShare([Group([played("B", *TWO, accuracy=0.0)])], 0, {"planner:loss": 0.5}, 0.75)
    last = StepShare([], 0, {"reporter:loss": -0.25}, 0.5)
    metrics = step_metrics([first, again, second, last], AGENTS)
    assert metrics["train:accuracy"] == 0.5
    assert metrics["train:dead_groups"] == 0.5
    assert metrics["train:loss"] == 0.125, "the mean over agents"
    assert metrics["train:idle"] == 0.5
    assert metrics["train:tokens"] == 22
    assert (metrics["planner:length"], metrics["reporter:length"]) == (2.0, 3.0)


def earning(*pairs):
    """A group: (reward, right) by episode."""
    return Group(
        [
            Episode(
                question(answer="A"),
                next(SAMPLES),
                1,
                answer="A" if right else "B",
                score=Score(total, 1.0, total, {}, {}),
            )
            for total, right in pairs
        ]
    )


def test_agreement_by_hand():
    right, wrong = (1.0, True), (0.0, False)
    assert agreement([earning(right, wrong, wrong)]) == pytest.approx(1.0)
    assert agreement([earning((0.0, True), (1.0, False))]) == pytest.approx(-1.0)
    # Half is paid for being right and half for something else: both deviate by ±½·½ in every pairing.
    mixed = earning((1.0, True), (0.5, True), (0.5, False), (0.0, False))
    assert agreement([mixed]) == pytest.approx(0.5**0.5)
    # A group of wrong answers that are paid differently says nothing of right ones, and is learned from.
    assert agreement([earning(right, wrong), earning((0.6, False), (0.0, False))]) == pytest.approx(
        0.5 / ((0.5 + 0.18) * 0.5) ** 0.5
    )


def test_agreement_compares_within_groups_only():
    """An easy question that pays little beside a hard one that pays much is no disagreement."""
    easy, hard = earning((0.2, True), (0.2, True), (0.0, False)), earning((1.0, True), (0.8, False))
    assert agreement([easy, hard]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "group",
    [Group(()), earning((1.0, True), (0.5, True)), earning((0.5, True), (0.5, False))],
    ids=["empty", "all right", "all equal"],
)
def test_without_a_contrast_there_is_no_agreement(group):
    assert agreement([group]) is None


def unknown(answer, verified, scored):
    episode = played(answer, *TWO, accuracy=0.5)
    episode.question = replace(episode.question, answer="")
    episode.verified = verified
    if not scored:
        episode.score = None
    return episode


def test_accuracy_counts_only_questions_with_a_gold_answer():
    metrics = measured(
        played("A", *TWO), unknown("A", 0.9, True), unknown("B", 0.5, True), unknown("A", None, False)
    )
    assert metrics["train:accuracy"] == 1.0
    assert metrics["verifier:believed"] == pytest.approx(0.7)
    assert metrics["train:unscored"] == 0.25
    assert metrics["train:reward"] == 0.75, "over the scored ones"
    assert not {"train:unscored", "verifier:believed"} & set(measured(played("A", *TWO)))


def test_a_step_without_a_score_or_a_gold_answer_has_no_such_means():
    metrics = measured(unknown("A", None, False), dead=2)
    assert not {"train:accuracy", "train:reward", "train:format", "verifier:believed"} & set(metrics)
    assert (metrics["train:unscored"], metrics["train:dead_groups"]) == (1.0, 1.0)


def test_what_credit_took_is_summed_over_replicas_where_it_takes_anything():
    group = [Group([played("A", *TWO, accuracy=1.0)])]
    shares = [StepShare(group, 0, {}, 0.0, tokens) for tokens in (30, None, 12)]
    assert step_metrics(shares, AGENTS)["credit:tokens"] == 42.0
    assert "credit:tokens" not in step_metrics(shares[1:2], AGENTS)


class TestComb:
    """A spine of two rounds and a sibling at its second and its third place, which is in the second round."""

    spine = played("A", *FOUR, accuracy=1.0)
    second = replace(played("B", *TWO, accuracy=0.0), inherited=1)
    third = replace(played("B", *FOUR, accuracy=0.0), inherited=2)
    groups = (Group([spine, second], 1), Group([replace(spine), third], 2))

    def test_a_turn_that_episodes_share_was_taken_once(self):
        metrics = step_metrics([StepShare(self.groups, 0, {}, 0.0)], AGENTS)
        # The spine's 4 · 3 + (2 + 3 + 2 + 1), the reporter's 3 + 3, and the second round's 2 · 3 + (2 + 1).
        assert metrics["train:tokens"] == 20 + 6 + 9
        assert metrics["train:cut_turns"] == 2 / 7

    def test_a_sibling_in_a_later_round_is_not_one_by_itself(self):
        """Where the spine had settled there would be none: those that are are of the harder questions."""
        metrics = step_metrics([StepShare(self.groups, 0, {}, 0.0)], AGENTS)
        assert metrics["train:accuracy"] == 1 / 2
        assert metrics["train:rounds"] == 3 / 2

    def test_every_episode_is_kept_once(self):
        assert episodes_of([StepShare(self.groups, 0, {}, 0.0)]) == [self.spine, self.second, self.third]
