"""What is lost without a message: a table worked by hand, and a replay that knows nothing of the team."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import alone, floor, question, scored, tiny_policy, turn, word_book

from maporl_cli.agents.evidence import NoEvidence
from maporl_cli.agents.policy import Sample
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.team import Agent, Team
from maporl_cli.core.config import Config, RewardConfig, RewardWeights, TrainConfig
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.randomness import Greedy, Sampled
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Episode, Group, Question, Score
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.credit import Means
from maporl_cli.training.credit.leave_one_out import (
    Said,
    _said_in_step,
    leave_one_out_credit,
    measure_losses,
    refuse,
    without_turn,
)
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank, place_of

NAMES = ("planner", "analyst", "reporter")
BOOK = word_book(NAMES)


def means(team: Team, reward, **rollout) -> Means:
    config = Config.model_validate({"rollout": rollout, "run": {"seed": 5}})
    return Means(config, team, reward, alone(*NAMES), Timeline())


class Scripted:
    """Says what a function of its prompt's words tells it to; a word is an id."""

    context_length = 10_000
    version = 0

    def __init__(self, script: Callable[[list[str]], str], words: list[str]) -> None:
        self._script = script
        self._words = words

    def encode(self, prompt):
        self._words += [word for word in prompt.split() if word not in self._words]
        return tuple(self._words.index(word) for word in prompt.split())

    def decode(self, token_ids):
        return " ".join(self._words[token] for token in token_ids)

    def sample(self, prompts, generators, *, max_new_tokens, temperature):
        said = [self.encode(self._script(self.decode(prompt).split())) for prompt in prompts]
        return [Sample(ids, (-1.0,) * len(ids), True) for ids in said]


GOLD = {"one": "A", "two": "B"}
OTHER = {"A": "B", "B": "A"}


class TestByHand:
    """Two questions, "one" with the answer A and "two" with B; two rounds.

    The planner names the question. The analyst says the question's answer if the name it heard last is the
    question's own, else the other one. The reporter is unsure at first; then it answers what the analyst
    said in both rounds, and stays unsure where that differs.
    """

    def planner(self, words):
        return f"is-{words[0]}"

    def analyst(self, words):
        right = [word for word in words if word.startswith("is-")][-1] == f"is-{words[0]}"
        return GOLD[words[0]] if right else OTHER[GOLD[words[0]]]

    def reporter(self, words):
        said = [word for word in words if word in OTHER]
        return f"({said[0]})" if len(said) == 2 and said[0] == said[1] else "unsure"

    def lost(self, planner=None, **reward):
        words: list[str] = []
        scripts = (planner or self.planner, self.analyst, self.reporter)
        agents = [
            Agent(name, BOOK.role(name), Scripted(script, words), 4, 1.0)
            for name, script in zip(NAMES, scripts, strict=True)
        ]
        team = Team(agents, BOOK, NoEvidence(), 2, floor())
        episodes = [
            Episode(Question(name, name, {"A": "yes", "B": "no"}, gold), 0, 1) for name, gold in GOLD.items()
        ]
        team.play(episodes, Greedy())
        only = {"weights": {name: float(name == "accuracy") for name in RewardWeights.model_fields}}
        plain = {"format_weight": 0.0, "similarity_model": None}
        paid = Reward(RewardConfig.model_validate(only | plain | reward), BOOK)
        groups = [Group([episode]) for episode in episodes]
        paid.score([group.episodes for group in groups])
        tokens = measure_losses(groups, groups, means(team, paid))
        return [leave_one_out_credit(episode, TrainConfig(gamma=0.5)) for episode in episodes], tokens

    def test_a_team_that_is_right(self):
        """Right both: 1. Without:

        | turn | is said instead | then | reward | lost |
        |---|---|---|---|---|
        | planner 1 | the other's name | analyst wrong, then right: unsure | 0 | 1 |
        | analyst 1 | the other answer | the same | 0 | 1 |
        | reporter 1 | unsure | as it was | 1 | 0 |
        | planner 2 | the other's name | analyst right, then wrong: unsure | 0 | 1 |
        | analyst 2 | the other answer | the same | 0 | 1 |
        | reporter 2 | the other answer | | 0 | 1 |
        """
        lost, tokens = self.lost()
        assert lost == [[1.0, 1.0, 0.0, 1.0, 1.0, 1.0]] * 2
        # Turn n has a word and reads 2 + n: the question, the turns before it, an instruction. Without turn 0
        # the turns 1 to 5 are taken again, without turn 1 those from 2 on, …
        assert tokens == 2 * (1 * 4 + 2 * 5 + 3 * 6 + 4 * 7 + 5 * 8)

    def test_a_team_that_is_misled(self):
        """The planner names the other question: wrong both, 0. Only the other's report would be right."""
        lost, _ = self.lost(planner=lambda words: "is-two" if words[0] == "one" else "is-one")
        assert lost == [[0.0, 0.0, 0.0, 0.0, 0.0, -1.0]] * 2

    def test_form_is_paid_on_both_sides_or_on_neither(self):
        """Each group is right and alone, so that no form was paid; what is lost is lost under one payment."""
        lost, _ = self.lost(format_weight=0.2)
        assert [values[2] for values in lost] == [0.0, 0.0], "the same was said: nothing is lost"
        # Right and in form (1 + .2) / 1.2, wrong and in form .2 / 1.2.
        assert [values[5] for values in lost] == pytest.approx([1 / 1.2] * 2)


def test_the_rule_takes_what_was_measured():
    """Three agents, two rounds; the discount has no part in it."""
    episode = scored([turn(name, round=round) for round in range(2) for name in NAMES], 1.0)
    episode.measured = {"lost": (1.0, 0.0, 0.25, -0.5, 0.0, 1.0)}
    assert leave_one_out_credit(episode, TrainConfig(gamma=0.5)) == [1.0, 0.0, 0.25, -0.5, 0.0, 1.0]


def test_an_episode_that_was_not_measured_is_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="without each of their turns"):
        leave_one_out_credit(scored([turn()], 1.0), TrainConfig())


class TestStandIn:
    """Who speaks instead."""

    episode = Episode(
        question("q1"), 0, 1, turns=[turn("planner", text="mine"), turn("planner", round=1, text="mine")]
    )

    def instead(self, *said: Said, seed=0):
        return without_turn(self.episode, 1, said, seed).turns[1]

    def said(self, of, agent="planner", *, round=1, sample=1, text="other"):
        return Said(of, sample, turn(agent, round=round, text=text, tokens=7, finished=False))

    def test_the_same_agent_on_another_question_in_the_same_round(self):
        wanted = self.said("q2", text="this")
        found = self.instead(self.said("q1"), self.said("q2", "reporter"), self.said("q2", round=0), wanted)
        assert (found.agent, found.round, found.text) == ("planner", 1, "this")
        assert (found.token_ids, found.logprobs) == (wanted.turn.token_ids, wanted.turn.logprobs)
        assert not found.finished
        assert found.prompt_ids == self.episode.turns[1].prompt_ids

    def test_in_another_round_where_nobody_came_so_far(self):
        assert self.instead(self.said("q1"), self.said("q2", round=0, text="early")).text == "early"

    def test_in_another_episode_of_the_question_where_there_is_no_other(self):
        own = Said("q1", 0, self.episode.turns[1])
        assert self.instead(own, self.said("q1", text="sibling")).text == "sibling"

    def test_it_is_drawn_from_all_and_by_its_place(self):
        said = [self.said("q2", text=str(n)) for n in range(4)]
        drawn = [self.instead(*said, seed=seed).text for seed in range(40)]
        assert set(drawn) == {"0", "1", "2", "3"}
        assert drawn == [self.instead(*said, seed=seed).text for seed in range(40)]

    def test_what_came_before_stays_and_what_came_after_is_gone(self):
        first = without_turn(self.episode, 0, [self.said("q2", round=0)], 0)
        assert [one.text for one in first.turns] == ["other"]
        assert (first.inherited, first.score, first.answer) == (1, None, None)
        assert [one.text for one in self.episode.turns] == ["mine", "mine"]


OPTIONS = {"A": "w1", "B": "w2"}


class Remembering:
    """A reward that pays for the very ids, and keeps what it was shown."""

    def __init__(self):
        self.shown: list[Episode] = []

    def score(self, groups):
        for group in groups:
            for episode in group:
                total = sum(sum(turn.token_ids) for turn in episode.turns) % 97 / 97
                episode.score = Score(total, 1.0, total, {}, {})
                self.shown.append(episode)


@pytest.mark.parametrize("microbatches", [1, 5])
def test_the_play_without_a_turn_is_what_a_replay_by_hand_gives(microbatches):
    agents = [Agent(name, BOOK.role(name), tiny_policy(seed), 4, 1.5) for seed, name in enumerate(NAMES)]
    team = Team(agents, BOOK, NoEvidence(), 2, floor())
    groups = [
        Group([Episode(Question(f"q{n}", f"w{n} w9", OPTIONS, "A"), sample, 2) for sample in range(2)])
        for n in range(3)
    ]
    everyone = [episode for group in groups for episode in group.episodes]
    team.play(everyone, Sampled(5))
    reward = Remembering()
    reward.score([group.episodes for group in groups])
    reward.shown.clear()
    tokens = measure_losses(groups, groups[1:], means(team, reward, microbatches=microbatches))
    again = [episode for episode in reward.shown if episode.inherited]
    assert len(again) == sum(len(e.turns) for group in groups[1:] for e in group.episodes)
    read = 0
    for one in again:
        place = one.inherited - 1
        (whole,) = (e for e in everyone if (e.question.id, e.sample) == (one.question.id, one.sample))
        others = {
            e.turns[place].text for e in everyone if e.question.id != one.question.id and place < len(e.turns)
        }
        assert one.turns[:place] == whole.turns[:place]
        assert one.turns[place].text in others
        said = one.turns[: place + 1]
        for later in one.turns[place + 1 :]:
            agent = agents[len(said) % 3]
            prompt = agent.policy.encode(render_prompt(BOOK, agent.role, one.question, (), said))
            draws = Sampled(5).generator(whole, len(said) // 3, agent.name)
            (sample,) = agent.policy.sample([prompt], [draws], max_new_tokens=4, temperature=1.5)
            assert (later.prompt_ids, later.token_ids) == (prompt, sample.token_ids)
            said.append(later)
            read += len(prompt) + len(sample.token_ids)
        expected = whole.score.total - sum(sum(t.token_ids) for t in one.turns) % 97 / 97
        assert whole.measured["lost"][place] == pytest.approx(expected)
    assert tokens == read
    assert all(len(e.measured["lost"]) == len(e.turns) for g in groups[1:] for e in g.episodes)
    assert [e.measured for e in groups[0].episodes] == [{}, {}], "not learned from, not measured"
    assert len({e.measured["lost"] for g in groups[1:] for e in g.episodes}) == 4


@pytest.mark.parametrize("questions", [1, 3])
def test_who_speaks_instead_is_drawn_from_the_step_by_the_run_s_seed(questions):
    """Of one question only, another episode's turn: never the turn's own."""
    agents = [Agent(name, BOOK.role(name), tiny_policy(seed), 4, 1.5) for seed, name in enumerate(NAMES)]
    team = Team(agents, BOOK, NoEvidence(), 1, floor())
    groups = [
        Group([Episode(Question(f"q{n}", f"w{n} w9", OPTIONS, "A"), sample, 2) for sample in range(4)])
        for n in range(questions)
    ]
    everyone = [episode for group in groups for episode in group.episodes]
    team.play(everyone, Sampled(5))
    said = [Said(e.question.id, e.sample, one) for e in everyone for one in e.turns]
    reward = Remembering()
    reward.score([group.episodes for group in groups])
    reward.shown.clear()
    measure_losses(groups, groups, means(team, reward))
    again = {(*one.key, one.inherited - 1): one for one in reward.shown if one.inherited}
    assert len(again) == len(said) == 12 * questions
    for episode in everyone:
        for index in range(3):
            expected = without_turn(episode, index, said, seed=5).turns[index]
            assert again[*episode.key, index].turns[index] == expected


class Listening(OneRank):
    """The second of three ranks that share a replica; hears nobody, and keeps what it told."""

    rank = 1

    def __init__(self):
        super().__init__(place(NAMES, 3))
        self.told: list = []

    def gather(self, value, what):
        self.told.append((what, value))
        return []

    def broadcast(self, value, what):
        return value


def test_what_was_said_is_told_by_one_rank_of_a_replica():
    assert place_of(Listening()).replica == 0
    ranks = Listening()
    assert _said_in_step([Group([Episode(question("q1"), 0, 1, turns=[turn()])])], ranks) == []
    assert ranks.told == [("what was said in the step", [])]


def test_it_does_not_combine_with_combs():
    refuse(Config(), BOOK)
    with pytest.raises(
        ConfigError, match=r"^train\.credit=leave_one_out and rollout\.sampling=comb do not"
    ) as told:
        refuse(Config.model_validate({"rollout": {"sampling": "comb"}}), BOOK)
    assert told.value.where == "train.credit, rollout.sampling"
    assert "in its very context already" in told.value.why
    assert "rollout.sampling=chain" in told.value.fix


def test_it_does_not_combine_with_a_verifier():
    with pytest.raises(
        ConfigError, match=r"^train\.credit=leave_one_out and reward\.verifier do not"
    ) as told:
        refuse(Config.model_validate({"reward": {"verifier": "learned"}}), BOOK)
    assert told.value.where == "train.credit, reward.verifier"
    assert "the team's own episodes only" in told.value.why
    assert "reward.verifier=none" in told.value.fix
    assert "train.credit=team" in told.value.fix
