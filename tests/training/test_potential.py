"""What a message tells a reader: a table worked by hand, and the probability computed directly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support import alone, floor, question, scored, tiny_policy, turn

from maporl_cli.agents.evidence import NoEvidence
from maporl_cli.agents.policy import OutOfMemory
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.agents.team import Agent, Team
from maporl_cli.core.config import Config, RewardConfig, TrainConfig
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.randomness import Sampled
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Episode, Group, Question
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.credit import Means, keeps_start
from maporl_cli.training.credit.potential import (
    measure_readings,
    potential_credit,
    refuse_unwritten,
)
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank

NAMES = ("planner", "analyst", "reporter")
BOOK = RoleBook(
    name="toy",
    roles={
        **{name: Role(name, ("question",), f"w{index}") for index, name in enumerate(NAMES)},
        "reporter": Role("reporter", ("options",), "w9"),
    },
    sections={"question": "{}", "options": "{}"},
    turn="{text}",
    separator=" ",
    write=lambda question, letter: f"Answer: {question.options[letter]} ({letter})",
)


class TestByHand:
    """Three agents, two rounds, the reward 1, γ = ½: the team's credit is 1/32, 1/16, … 1."""

    turns = tuple(turn(name, round=round) for round in range(2) for name in NAMES)
    readings = (0.25, 0.5, 0.25, 0.25, 0.75, 0.5, 1.0)

    def test_table(self):
        episode = scored(self.turns, 1.0)
        episode.measured = {"readings": self.readings}
        assert potential_credit(episode, TrainConfig(gamma=0.5)) == [
            1 / 32 + 0.25,
            1 / 16 - 0.25,
            1 / 8,
            1 / 4 + 0.5,
            1 / 2 - 0.25,
            1 + 0.5,
        ]

    def test_the_differences_add_up_to_what_the_team_told_the_reader(self):
        episode = scored(self.turns, 1.0)
        episode.measured = {"readings": self.readings}
        assert sum(potential_credit(episode, TrainConfig())) == pytest.approx(6 * 1.0 + 1.0 - 0.25)

    def test_without_options_there_is_the_team_s_credit_alone(self):
        episode = scored(self.turns, 0.5)
        free = replace(episode, question=replace(question(), options={}))
        assert potential_credit(free, TrainConfig()) == [0.5] * 6

    def test_without_a_gold_answer_as_well(self):
        unknown = replace(scored(self.turns, 0.5), question=question(answer=""))
        assert potential_credit(unknown, TrainConfig()) == [0.5] * 6

    def test_an_episode_that_was_not_read_is_a_bug_of_the_caller(self):
        with pytest.raises(ValueError, match="read"):
            potential_credit(scored(self.turns, 1.0), TrainConfig())


def team(rounds: int = 2) -> Team:
    agents = [
        Agent(name, BOOK.role(name), tiny_policy(seed, keep_reference=name == "reporter"), 4, 1.5)
        for seed, name in enumerate(NAMES)
    ]
    return Team(agents, BOOK, NoEvidence(), rounds, floor())


def means(playing: Team, rows: int) -> Means:
    config = Config.model_validate(
        {"train": {"per_device_train_batch_size": rows, "batch_size": rows * 4}, "rollout": {"group_size": 4}}
    )
    paid = {"weights": {"accuracy": 1.0}, "similarity_model": None}
    reward = Reward(RewardConfig.model_validate(paid), BOOK)
    return Means(config, playing, reward, alone(*NAMES), Timeline())


OPTIONS = {"A": "w5", "B": "w6 w7", "C": "w8"}


def played(playing: Team) -> list[Group]:
    groups = [
        Group([Episode(Question(f"q{n}", f"w{n}", OPTIONS, "ABC"[n]), sample, 1) for sample in range(2)])
        for n in range(3)
    ]
    free = Group([Episode(Question("free", "w3", {}, "w1"), 0, 1)])
    groups.append(free)
    playing.play([episode for group in groups for episode in group.episodes], Sampled(3))
    return groups


@pytest.mark.parametrize("rows", [3, 64])
def test_a_reading_is_a_softmax_of_teacher_forced_sequences(rows):
    playing = team()
    groups = played(playing)
    policy = playing.agents[-1].policy
    first = {name: weight.detach().clone() for name, weight in policy.trainable().items()}
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight += 0.1 * torch.randn_like(weight)  # what it has learned since plays no part
    measure_readings(groups, groups, means(playing, rows))
    with torch.no_grad():
        for name, weight in policy.trainable().items():
            weight.copy_(first[name])
    spread = []
    for group in groups[:3]:
        for episode in group.episodes:
            readings = episode.measured["readings"]
            assert len(readings) == len(episode.turns) + 1
            for count, found in enumerate(readings):
                prompt = render_prompt(
                    BOOK, BOOK.role("reporter"), episode.question, (), episode.turns[:count]
                )
                assert found == pytest.approx(directly(policy, prompt, episode.question), abs=1e-6)
            spread.append(max(readings) - min(readings))
    assert max(spread) > 0.01, "messages move the reader"
    assert groups[3].episodes[0].measured == {}


def directly(policy, prompt: str, asked: Question) -> float:
    """P(gold): each answer's probability token by token, one forward pass a token, and then the share."""
    probabilities = {}
    for letter, text in asked.options.items():
        ids = list(policy.encode(prompt))
        total = 0.0
        for token in policy.encode_turn(f"Answer: {text} ({letter})"):
            with torch.no_grad():
                logits = policy._model(input_ids=torch.tensor([ids])).logits[0, -1].double()
            total += float(torch.log_softmax(logits / 1.5, -1)[token])
            ids.append(token)
        probabilities[letter] = torch.tensor(total, dtype=torch.float64)
    whole = torch.logsumexp(torch.stack(list(probabilities.values())), 0)
    return float((probabilities[asked.answer] - whole).exp())


def test_what_is_read_twice_is_counted_once():
    """Both episodes of a group hear nothing at first."""
    playing = team(rounds=1)
    groups = played(playing)[:1]
    tokens = measure_readings(groups, groups, means(playing, 64))
    one, two = groups[0].episodes
    policy = playing.agents[-1].policy
    prompts = {
        render_prompt(BOOK, BOOK.role("reporter"), e.question, (), e.turns[:count])
        for e in (one, two)
        for count in range(4)
    }
    assert len(prompts) < 8
    answers = sum(len(policy.encode_turn(f"Answer: {text} ({k})")) for k, text in OPTIONS.items())
    assert tokens == sum(3 * len(policy.encode(prompt)) + answers for prompt in prompts)
    assert one.measured["readings"][0] == two.measured["readings"][0]


def test_the_tokens_of_all_groups_are_added_up():
    playing = team(rounds=1)
    groups = played(playing)
    each = [measure_readings(groups, [group], means(playing, 64)) for group in groups]
    assert min(each[:3]) > 0
    assert each[3] == 0, "nothing can be read of a question without options"
    assert measure_readings(groups, groups, means(playing, 64)) == sum(each)


class Told(OneRank):
    """A rank whose replica's other one has told something; keeps what it tells itself."""

    def __init__(self, *others):
        super().__init__(place(NAMES, 1))
        self.others = others
        self.own: list = []

    def gather_in_replica(self, value, what):
        self.own.append((what, value))
        return [value, *self.others]


def test_whoever_has_the_last_agent_reads_and_the_others_are_told():
    playing = team(rounds=1)
    groups = played(playing)[:1]
    episodes = groups[0].episodes
    ours = means(playing, 64)
    tokens = measure_readings(groups, groups, ours)
    readings = [episode.measured["readings"] for episode in episodes]

    def without(*absent: str) -> Team:
        agents = [replace(one, policy=None) if one.name in absent else one for one in playing.agents]
        return Team(agents, BOOK, NoEvidence(), 1, floor())

    for episode in episodes:
        episode.measured = {}
    reads = Told(None)
    assert measure_readings(groups, groups, replace(ours, team=without("analyst"), ranks=reads)) == tokens
    assert reads.own == [("what the reader made of the turns", (readings, tokens))]
    assert [episode.measured["readings"] for episode in episodes] == readings

    is_told = Told(([(0.5, 0.25)] * 2, 7))
    elsewhere = replace(ours, team=without("reporter"), ranks=is_told)
    assert measure_readings(groups, groups, elsewhere) == 7
    assert is_told.own == [("what the reader made of the turns", None)]
    assert [episode.measured["readings"] for episode in episodes] == [(0.5, 0.25)] * 2


def test_a_reading_that_does_not_fit_into_memory_is_told_of(monkeypatch):
    playing = team(rounds=1)
    groups = played(playing)[:1]

    def too_much(*given, **options):
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(playing.agents[-1].policy, "reference_logprobs", too_much)
    with pytest.raises(OutOfMemory, match="'reporter'") as told:
        measure_readings(groups, groups, means(playing, 64))
    assert told.value.where == "reading the turns"
    assert "lower train.per_device_train_batch_size;" in told.value.fix


def test_nothing_is_read_where_nothing_is_learned_from():
    playing = team(rounds=1)
    groups = played(playing)
    assert measure_readings(groups, [], means(playing, 64)) == 0
    assert not any(episode.measured for group in groups for episode in group.episodes)


def test_a_book_that_cannot_write_an_answer_is_refused():
    refuse_unwritten(Config(), BOOK)
    with pytest.raises(ConfigError, match="does not say how an answer is written") as told:
        refuse_unwritten(Config(), replace(BOOK, write=None))
    assert told.value.where == "train.credit=potential"
    assert told.value.why == "its reader is asked how likely it would write each option"
    assert "train.credit=team" in told.value.fix


@pytest.mark.parametrize(
    ("train", "kept"),
    [
        ({}, ()),
        ({"credit": "potential"}, ("reporter",)),
        ({"credit": "leave_one_out"}, ()),
        ({"credit": "potential", "kl_coeff": 0.1}, ("planner", "researcher", "analyst", "reporter")),
    ],
)
def test_whose_start_is_kept(train, kept):
    assert keeps_start(Config.model_validate({"train": train})) == kept
