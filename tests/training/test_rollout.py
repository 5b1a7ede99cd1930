"""Groups of episodes: who shares what with whom, and that nothing else is the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support import alone, floor, tiny_policy, word_book

from maporl_cli.agents.evidence import NoEvidence
from maporl_cli.agents.team import Agent, Team
from maporl_cli.core.batch_arithmetic import episodes_a_question
from maporl_cli.core.config import RolloutConfig
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.randomness import Sampled
from maporl_cli.core.types import Episode, Group, Question
from maporl_cli.training.rollout import distinct_episodes, rollout

NAMES = ("planner", "analyst", "reporter")
QUESTIONS = [Question(f"q{n}", f"w{n} w9", {"A": "w1", "B": "w2"}, "A") for n in range(6)]
ALONE = alone(*NAMES)


def team(rounds: int, stopping=lambda: False) -> Team:
    """Three tiny policies that babble; now and then a report holds a letter, and a round is the last."""
    book = word_book(
        NAMES, read=lambda _, text: "B" if any(word in text for word in ("w1", "A", "B")) else None
    )
    agents = [Agent(name, book.role(name), tiny_policy(seed), 4, 1.5) for seed, name in enumerate(NAMES)]
    return Team(agents, book, NoEvidence(), rounds, floor(stopping))


def play(rounds: int, *, sampling="comb", size=4, questions=QUESTIONS, stopping=lambda: False) -> list[Group]:
    plan = RolloutConfig(group_size=size, sampling=sampling, microbatches=2)
    return rollout(team(rounds, stopping), questions, step=2, seed=3, plan=plan, ranks=ALONE)


def said(episode: Episode) -> list[tuple[int, ...]]:
    return [turn.token_ids for turn in episode.turns]


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_episodes_at_a_place_share_everything_before_it_and_nothing_else(rounds):
    groups = play(rounds)
    lengths = set()
    for group in groups:
        spine, *siblings = group.episodes
        assert len(siblings) == 3
        lengths.add(len(spine.turns))
        for episode in group.episodes:
            assert said(episode)[: group.place] == said(spine)[: group.place]
            assert episode.turns[group.place].prompt_ids == spine.turns[group.place].prompt_ids
            assert episode.answer is not None or len(episode.turns) == rounds * 3
        assert (spine.inherited, {e.inherited for e in siblings}) == (0, {group.place})
        there = {episode.turns[group.place].token_ids for episode in group.episodes}
        assert len(there) > 1, "sampled anew"
    places = [group.place for group in groups]
    by_question = [[g.place for g in groups if g.episodes[0].question.id == q.id] for q in QUESTIONS]
    assert places == [place for own in by_question for place in own]
    assert lengths == ({3} if rounds == 1 else {3, 6}), "some spines settle early"
    for own, question in zip(by_question, QUESTIONS, strict=True):
        spine = next(g.episodes[0] for g in groups if g.episodes[0].question.id == question.id)
        assert own == list(range(len(spine.turns))), "a place for each of its turns"


def test_every_episode_is_what_its_own_draws_give_on_the_spine_s_turns():
    """Played on alone, by a team that was told nothing of combs."""
    for group in play(2)[:7]:
        spine, *siblings = group.episodes
        whole = Episode(spine.question, spine.sample, spine.step)
        team(2).play([whole], Sampled(3))
        assert (said(whole), whole.answer) == (said(spine), spine.answer)
        for sibling in siblings:
            alone = Episode(spine.question, sibling.sample, spine.step, turns=whole.turns[: group.place])
            team(2).play([alone], Sampled(3))
            assert (said(alone), alone.answer) == (said(sibling), sibling.answer)


def test_no_two_episodes_of_a_question_have_the_same_draws():
    """Also where the question comes twice: every sample has a number of its own."""
    groups = play(2, questions=QUESTIONS[:1] * 2)
    episodes = list(distinct_episodes(groups))
    samples = [episode.sample for episode in episodes]
    assert len(samples) == len(set(samples))
    most = episodes_a_question(RolloutConfig(group_size=4, sampling="comb"), 6)
    assert most == 1 + 6 * 3
    spines = [episode for episode in episodes if not episode.inherited and episode.sample % most == 0]
    assert [spine.sample for spine in spines] == [0, most]
    assert said(spines[0]) != said(spines[1])
    assert len(episodes) == sum(1 + 3 * len(spine.turns) for spine in spines)


def test_the_spine_stands_in_every_group_to_be_scored_there():
    groups = play(1)
    for one, other in pairwise(groups):
        if one.episodes[0].sample == other.episodes[0].sample and one.place < other.place:
            assert one.episodes[0] == other.episodes[0]
            assert one.episodes[0] is not other.episodes[0]


def test_chains_share_the_question_alone():
    groups = play(1, sampling="chain")
    assert [len(group.episodes) for group in groups] == [4] * 6
    assert {group.place for group in groups} == {None}
    for group in groups:
        assert [episode.sample for episode in group.episodes] == [0, 1, 2, 3]
        assert {episode.inherited for episode in group.episodes} == {0}
        assert len({turns[0] for turns in map(said, group.episodes)}) > 1


def test_a_question_that_comes_twice_in_a_step_is_not_played_the_same_way_twice():
    first, second = play(1, sampling="chain", questions=QUESTIONS[:1] * 2)
    assert [episode.sample for episode in (*first.episodes, *second.episodes)] == list(range(8))
    assert [*map(said, first.episodes)] != [*map(said, second.episodes)]


@pytest.mark.parametrize("sampling", ["chain", "comb"])
def test_a_stop_is_told(sampling):
    with pytest.raises(Interrupted):
        play(1, sampling=sampling, stopping=lambda: True)
