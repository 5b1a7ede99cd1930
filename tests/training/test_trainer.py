"""The loop end to end: a real tiny team on a toy benchmark, with the real reward, credit and learners.

The planner reads the question and says a word. The reporter names a letter where there are options,
and repeats the planner's word where there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import pytest
import torch
from support import alone, floor, tiny_policy

from maporl_cli.agents.evidence import NoEvidence
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.agents.team import Agent, Team
from maporl_cli.core.config import Config, RolloutConfig
from maporl_cli.core.errors import Interrupted, RunFailed
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.advantage import CriticEstimator, estimators
from maporl_cli.training.checkpoint import Checkpoints, Progress, copy_weights, load_checkpoint
from maporl_cli.training.cold_start import Demonstration, imitate
from maporl_cli.training.credit import credit_rules
from maporl_cli.training.critic import Critic
from maporl_cli.training.guards import Guards
from maporl_cli.training.rollout import rollout
from maporl_cli.training.stop import StopRequest
from maporl_cli.training.trainer import Trainer
from maporl_cli.training.update import Learner

NAMES = ("planner", "reporter")
BOOK = RoleBook(
    name="toy",
    roles={
        "planner": Role("planner", ("question",), "w8", re.compile(r"w[1-4]")),
        "reporter": Role("reporter", ("options",), "w9", re.compile(r"[AB]|w[1-4]")),
    },
    sections={"question": "{}", "options": "{}"},
    option="({letter}) {text}",
    turn="{text}",
    separator=" ",
    write=lambda _, letter: letter,
)
QUESTIONS = [
    Question(f"q{index}", f"w{1 + index % 2}", {"A": "w5", "B": "w6"}, answer="A") for index in range(6)
]
FREE = [Question(f"f{index}", f"w{1 + index % 2}", {}, answer="w3") for index in range(6)]


@pytest.fixture(scope="module")
def start() -> dict[str, torch.Tensor]:
    """Weights that know the form of both roles' turns and nothing of the task."""
    policy = tiny_policy()
    generator = keyed_generator("toy")

    def shown() -> list[tuple[str, str]]:
        options = generator.permutation(["w5", "w6"])
        word, letter = f"w{generator.integers(1, 5)}", "AB"[generator.integers(2)]
        return [
            (f"w{generator.integers(1, 3)} w8", word),
            (f"(A) {options[0]} (B) {options[1]} {word} w9", letter),
            (f"{word} w9", word),
        ]

    def batches() -> Iterator[list[list[Demonstration]]]:
        while True:
            yield [
                [Demonstration(policy.encode(prompt), policy.encode_turn(reply)) for prompt, reply in part]
                for part in zip(*(shown() for _ in range(8)), strict=True)
            ]

    losses: list[float] = []
    imitate(
        policy,
        batches(),
        steps=60,
        learning_rate=4e-3,
        decay=0.4,
        on_step=lambda _, loss: losses.append(loss),
    )
    assert losses[-1] < losses[0] / 2
    return {name: parameter.detach().clone() for name, parameter in policy.trainable().items()}


@dataclass
class Recorder:
    """A monitor that remembers."""

    metrics: dict[int, dict[str, float]] = field(default_factory=dict)
    played: dict[int, list[Episode]] = field(default_factory=dict)

    def log(self, step, metrics):
        assert step not in self.metrics
        self.metrics[step] = dict(metrics)

    def episodes(self, step, episodes):
        self.played[step] = list(episodes)


@dataclass
class Run:
    """A team on the toy benchmark with everything that a trainer needs."""

    folder: Path
    start: dict[str, torch.Tensor]
    steps: int
    seed: int = 0
    trained: Sequence[str] = NAMES
    train: dict = field(default_factory=dict)
    rollout: dict = field(default_factory=dict)
    rounds: int = 1
    questions: Sequence[Question] = tuple(QUESTIONS)
    stop_in_rollout: bool = False
    history: Sequence[dict[str, float]] = ()
    credit: str = "team"

    def __post_init__(self):
        settings = {
            "run": {"seed": self.seed},
            "rollout": {"group_size": 6, **self.rollout},
            "reward": {"weights": {"accuracy": 1.0}, "format_weight": 0.2, "similarity_model": None},
            "train": {
                "learning_rate": 2e-3,
                "batch_size": 4,
                "per_device_train_batch_size": 8,
                "save_every": 100,
                **self.train,
            },
        }
        self.config = Config.model_validate(settings)
        self.policies = {name: tiny_policy() for name in NAMES}
        self.ranks = alone(*NAMES)
        self.estimator = estimators()[self.config.train.algorithm]
        valued = isinstance(self.estimator, CriticEstimator)
        for policy in self.policies.values():
            copy_weights(self.start, policy)
            policy.keep_reference()
        self.team = Team(
            [Agent(name, BOOK.role(name), self.policies[name], 3, 1.0) for name in NAMES],
            BOOK,
            NoEvidence(),
            self.rounds,
            floor(lambda: self.stop_in_rollout),
        )
        self.learners = [
            Learner(
                name,
                self.policies[name],
                self.config.train,
                total_steps=self.steps,
                temperature=1.0,
                learning_rate=self.config.train.learning_rate,
                ranks=self.ranks,
                critic=Critic(self.policies[name], shared=0.0) if valued else None,
            )
            for name in self.trained
        ]
        self.checkpoints = Checkpoints(self.folder, keep=self.config.train.keep_checkpoints)
        self.reward = Reward(self.config.reward, BOOK)
        self.monitor = Recorder()
        self.said: list[str] = []
        self.stop = StopRequest()
        self.evaluator = lambda: {"eval:accuracy": 0.25}

    def go(self, progress: Progress | None = None, *, until: int | None = None) -> Progress:
        trainer = Trainer(
            config=self.config,
            team=self.team,
            policies=self.policies,
            learners=self.learners,
            reward=self.reward,
            credit=credit_rules()[self.credit],
            estimator=self.estimator,
            questions=self.questions,
            steps=until or self.steps,
            monitor=self.monitor,
            evaluator=lambda: self.evaluator(),
            guards=Guards(self.config.train, NAMES, False, self.history, self.checkpoints, self.said.append),
            checkpoints=self.checkpoints,
            stop=self.stop,
            ranks=self.ranks,
            timeline=Timeline(),
        )
        return trainer.run(progress or Progress())

    def resume(self) -> Progress:
        path = self.checkpoints.latest()
        assert path is not None
        return self.go(load_checkpoint(path, self.policies, self.learners, self.ranks))

    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for name in NAMES for p in self.policies[name].trainable().values()]


def same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def tokens(recorder: Recorder) -> dict[int, list]:
    return {
        step: [
            [(turn.agent, turn.round, turn.prompt_ids, turn.token_ids) for turn in e.turns] for e in played
        ]
        for step, played in recorder.played.items()
    }


def test_a_reader_reads_combs_as_well(tmp_path, start):
    """A spine is read in each group it stands in that is learned from."""
    run = Run(tmp_path, start, steps=1, credit="potential", rollout={"sampling": "comb"})
    run.go()
    assert run.monitor.metrics[1]["credit:tokens"] > 0
    assert run.monitor.metrics[1]["train:dead_groups"] < 1
    assert len(run.monitor.played[1]) == 4 * (1 + 2 * 5)
    updates = [name for name in ("planner:loss", "reporter:loss") if name in run.monitor.metrics[1]]
    assert updates


@pytest.mark.parametrize(
    ("trained", "sampling", "credit"),
    [
        (NAMES, "chain", "team"),
        (("planner",), "chain", "team"),
        (NAMES, "comb", "team"),
        (NAMES, "chain", "leave_one_out"),
    ],
)
def test_a_team_learns(tmp_path, start, trained, sampling, credit):
    """Also the planner alone, whose reward comes only through what its teammate makes of its word."""
    settings = {"trained": trained, "rollout": {"sampling": sampling}, "credit": credit}
    run = Run(tmp_path, start, steps=16, seed=1, questions=FREE, **settings)
    run.go()
    accuracy = [run.monitor.metrics[step]["train:accuracy"] for step in range(1, 17)]
    assert 0 < accuracy[0] < 0.5, "chance is a quarter"
    assert fmean(accuracy[-5:]) > 0.9


def test_what_a_step_measures_and_keeps(tmp_path, start):
    run = Run(tmp_path, start, steps=4, train={"eval_every": 2, "save_every": 3, "keep_checkpoints": 5})
    progress = run.go()
    assert sorted(run.monitor.metrics) == [1, 2, 3, 4]
    assert [step for step, found in run.monitor.metrics.items() if "eval:accuracy" in found] == [2, 4]
    first = run.monitor.metrics[1]
    expected = {"train:loss", "train:seconds", "planner:loss", "reporter:grad_norm", "reporter:entropy"}
    expected |= {"planner:length", "planner:format", "reporter:novel", "train:agreement"}
    assert expected <= set(first)
    assert first["train:loss"] == pytest.approx((first["planner:loss"] + first["reporter:loss"]) / 2)
    for played in run.monitor.played.values():
        assert len(played) == 4 * 6
        assert all(episode.score is not None for episode in played)
    assert [episode.sample for episode in run.monitor.played[1]] == [*range(6)] * 4
    assert {episode.step for episode in run.monitor.played[2]} == {2}
    assert (progress.step, progress.tokens) == (
        4,
        sum(
            len(t.prompt_ids) + len(t.token_ids)
            for e in run.monitor.played.values()
            for x in e
            for t in x.turns
        ),
    )
    assert progress.seconds == pytest.approx(
        sum(found["train:seconds"] for found in run.monitor.metrics.values())
    )
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_000003", "step_000004"]


def test_the_turns_recorded_say_which_weights_they_came_from(tmp_path, start):
    run = Run(tmp_path, start, steps=3, trained=("reporter",))
    run.go()
    versions = {
        name: [
            {turn.policy_version for e in run.monitor.played[step] for turn in e.turns if turn.agent == name}
            for step in (1, 2, 3)
        ]
        for name in NAMES
    }
    assert versions == {"planner": [{0}] * 3, "reporter": [{0}, {1}, {2}]}


def test_an_untrained_agent_stays_while_its_teammate_learns(tmp_path, start):
    run = Run(tmp_path, start, steps=2, trained=("reporter",))
    run.go()
    half = len(run.weights()) // 2
    assert same(run.weights()[:half], list(start.values()))
    assert not same(run.weights()[half:], list(start.values()))
    assert not {"planner:loss", "planner:entropy"} & set(run.monitor.metrics[1])


def test_a_group_shares_the_order_of_options_and_steps_do_not(start, tmp_path):
    run = Run(tmp_path, start, steps=6)
    run.go()
    orders: dict[str, set] = {}
    for step, played in run.monitor.played.items():
        for at in range(0, len(played), 6):
            group = played[at : at + 6]
            assert len({episode.question.id for episode in group}) == 1
            (order,) = {tuple(episode.question.options.items()) for episode in group}
            assert group[0].question.options[group[0].question.answer] == "w5"
            orders.setdefault(group[0].question.id, set()).add((order, step)[0])
    assert len(set.union(*orders.values())) == 2
    assert any(len(seen) == 2 for seen in orders.values())


def test_the_same_seed_twice_and_another(tmp_path, start):
    one, two, other = (Run(tmp_path / str(n), start, steps=3, seed=seed) for n, seed in enumerate((0, 0, 1)))
    for run in (one, two, other):
        torch.manual_seed(len(str(run.folder)))
        run.go()
        torch.rand(3)  # no global stream is consumed
    assert same(one.weights(), two.weights())
    assert tokens(one.monitor) == tokens(two.monitor)
    assert not same(one.weights(), other.weights())


@pytest.mark.parametrize(
    ("rounds", "train"), [(1, {}), (2, {}), (2, {"algorithm": "maporl_ppo", "update_epochs": 2})]
)
def test_half_and_a_resume_and_half_equal_the_whole_bit_for_bit(tmp_path, start, rounds, train):
    options = {"steps": 6, "train": {"save_every": 3, "warmup_steps": 1, **train}, "rounds": rounds}
    whole = Run(tmp_path / "whole", start, **options)
    done = whole.go()
    first = Run(tmp_path / "halves", start, **options)
    first.go(until=3)
    second = Run(tmp_path / "halves", {name: weight + 1 for name, weight in start.items()}, **options)
    resumed = second.resume()
    assert sorted(second.monitor.metrics) == [4, 5, 6]
    assert same(whole.weights(), second.weights())
    assert not same(first.weights(), second.weights())
    assert {step: tokens(whole.monitor)[step] for step in (4, 5, 6)} == tokens(second.monitor)
    assert (resumed.step, resumed.tokens) == (done.step, done.tokens)
    assert resumed.seconds > 0


def test_a_finished_run_has_nothing_left_to_do(tmp_path, start):
    run = Run(tmp_path, start, steps=1)
    done = run.go()
    again = Run(tmp_path, start, steps=1)
    assert again.resume() == done
    assert again.monitor.metrics == {}
    assert same(again.weights(), run.weights())


@pytest.mark.parametrize("sampling", ["chain", "comb"])
@pytest.mark.parametrize("microbatches", [2, 3, 4, 9])
def test_microbatches_change_no_episode(tmp_path, start, sampling, microbatches):
    run = Run(tmp_path, start, steps=1)
    whole, parts = (
        rollout(
            run.team,
            QUESTIONS[:4],
            step=3,
            seed=1,
            plan=RolloutConfig(group_size=5, sampling=sampling, microbatches=count),
            ranks=run.ranks,
        )
        for count in (1, microbatches)
    )
    assert [len(group.episodes) for group in parts] == [5] * (4 if sampling == "chain" else 8)
    for one, other in zip(whole, parts, strict=True):
        assert one.place == other.place
        for first, second in zip(one.episodes, other.episodes, strict=True):
            assert first.question == second.question
            assert (first.sample, first.step, first.answer) == (second.sample, second.step, second.answer)
            assert [t.token_ids for t in first.turns] == [t.token_ids for t in second.turns]
    assert len({episode.turns[0].token_ids for group in whole for episode in group.episodes}) > 2


def test_a_stop_request_ends_after_the_step_with_a_checkpoint(tmp_path, start):
    whole = Run(tmp_path / "whole", start, steps=4)
    whole.go()
    run = Run(tmp_path / "stopped", start, steps=4, train={"eval_every": 2})

    def stop_here():
        run.stop.requested = True
        return {}

    run.evaluator = stop_here
    with pytest.raises(Interrupted) as told:
        run.go()
    assert told.value.exit_code == 130
    assert "step 2 of 4" in told.value.what
    assert told.value.where == str(run.folder / "step_000002") == str(run.checkpoints.latest())
    assert "--resume" in told.value.fix
    again = Run(tmp_path / "stopped", start, steps=4)
    assert again.resume().step == 4
    assert same(again.weights(), whole.weights())


def test_a_stop_request_in_a_rollout_gives_the_step_up(tmp_path, start):
    """It may be long, and nothing of it has been learned yet."""
    whole = Run(tmp_path / "whole", start, steps=4)
    whole.go()
    run = Run(tmp_path / "stopped", start, steps=4, train={"eval_every": 2})

    def stop_soon():
        run.stop_in_rollout = run.stop.requested = True
        return {}

    run.evaluator = stop_soon
    run.stop = StopRequest()
    with pytest.raises(Interrupted, match="step 2 of 4"):
        run.go()
    assert sorted(run.monitor.metrics) == [1, 2]
    again = Run(tmp_path / "stopped", start, steps=4)
    assert again.resume().step == 4
    assert same(again.weights(), whole.weights())


def test_a_stop_request_while_credit_is_measured_gives_the_step_up(tmp_path, start):
    run = Run(tmp_path, start, steps=4, credit="leave_one_out")
    score = run.reward.score

    def stop_soon(groups):
        score(groups)
        run.stop_in_rollout = run.stop.requested = len(run.monitor.metrics) == 1

    run.reward.score = stop_soon
    with pytest.raises(Interrupted, match="step 1 of 4"):
        run.go()
    assert sorted(run.monitor.metrics) == [1]


def ask_to_stop(run, agent, *, at):
    """Ask in the agent's pass number `at`; gives a list that grows with the passes of all agents."""
    passes: list[str] = []
    for name in NAMES:

        def counted(*args, name=name, score=run.policies[name].score, **kwargs):
            passes.append(name)
            run.stop.requested |= name == agent and passes.count(name) == at
            return score(*args, **kwargs)

        run.policies[name].score = counted
    return passes


@pytest.mark.parametrize("agent", NAMES)
@pytest.mark.parametrize("train", [{}, {"algorithm": "maporl_ppo", "update_epochs": 2}])
def test_a_stop_request_in_the_first_passes_of_an_update_gives_the_step_up(tmp_path, start, agent, train):
    """Also where one agent's gradient is there already: either all agents learn from a step or none does."""
    train = {"per_device_train_batch_size": 4, "algorithm": "reinforce_pp", **train}
    whole = Run(tmp_path / "whole", start, steps=3, train=train)
    passes = ask_to_stop(whole, None, at=0)
    whole.go(until=1)
    first, counts = whole.weights(), {name: passes.count(name) for name in NAMES}
    whole = Run(tmp_path / "whole", start, steps=3, train=train)
    whole.go()
    run = Run(tmp_path / "stopped", start, steps=3, train=train)
    # Two passes into the second step, beyond those that ask the value heads.
    heads = 6 if "update_epochs" in train else 0
    passes = ask_to_stop(run, agent, at=counts[agent] + heads + 2)
    with pytest.raises(Interrupted, match="step 1 of 3"):
        run.go()
    assert passes.count(agent) == counts[agent] + heads + 2, "it is the last"
    assert same(run.weights(), first)
    assert sorted(run.monitor.metrics) == [1]
    again = Run(tmp_path / "stopped", start, steps=3, train=train)
    assert again.resume().step == 3
    assert same(again.weights(), whole.weights())


def test_a_stop_request_after_the_first_step_of_an_update_lets_it_finish(tmp_path, start):
    train = {"per_device_train_batch_size": 4, "algorithm": "reinforce_pp", "update_epochs": 2}
    whole = Run(tmp_path / "whole", start, steps=2, train=train)
    whole.go(until=1)
    run = Run(tmp_path / "stopped", start, steps=2, train=train)
    passes = ask_to_stop(run, "planner", at=7)  # of 2 × 6
    with pytest.raises(Interrupted, match="step 1 of 2"):
        run.go()
    assert passes.count("planner") == 12
    assert same(run.weights(), whole.weights())


@pytest.mark.parametrize("credit", ["leave_one_out", "potential"])
def test_what_credit_takes_to_measure_is_counted(tmp_path, start, credit):
    run = Run(tmp_path, start, steps=2, credit=credit)
    progress = run.go()
    spent = {key: sum(run.monitor.metrics[n][f"{key}:tokens"] for n in (1, 2)) for key in ("train", "credit")}
    assert spent["credit"] > 0
    assert progress.tokens == sum(spent.values())
    name = {"leave_one_out": "lost", "potential": "readings"}[credit]
    for played in run.monitor.played.values():
        groups = [played[at : at + 6] for at in range(0, len(played), 6)]
        live = [len({e.score.total for e in group}) > 1 for group in groups]
        assert [[name in e.measured for e in group] for group in groups] == [[on] * 6 for on in live]
        assert any(live)


def test_a_stop_request_in_the_last_step_changes_nothing(tmp_path, start):
    run = Run(tmp_path, start, steps=1)
    ask_to_stop(run, "planner", at=5)  # of 2 × 3
    assert run.go().step == 1
    assert run.checkpoints.latest() == tmp_path / "step_000001"


@pytest.mark.parametrize("agent", NAMES)
def test_damaged_weights_stop_the_run_and_name_step_agent_and_checkpoint(tmp_path, start, agent):
    run = Run(tmp_path, start, steps=9, train={"save_every": 2, "eval_every": 3})

    def damage():
        with torch.no_grad():
            run.policies[agent].trainable()["model.norm.weight"][0] = float("nan")
        return {}

    run.evaluator = damage
    with pytest.raises(RunFailed) as told:
        run.go()
    assert agent in told.value.what
    assert "step 4" in told.value.where
    assert str(tmp_path / "step_000002") in told.value.where
    assert sorted(run.monitor.metrics) == [1, 2, 3], "nothing is made up for the failed step"


BETTER_DAYS = [
    {"step": step, "train:accuracy": 0.99, "train:reward": 1.0, "planner:length": 30.0 + step % 3}
    for step in range(-20, 0)
]
"""A past in which the planner spoke ten times as long, and the team was right."""


@pytest.mark.parametrize("action", ["warn", "stop", "off"])
def test_a_guard_warns_or_stops_after_the_step_that_it_fired_at(tmp_path, start, action):
    train = {"guards": action, "guard_window": 4, "save_every": 1, "keep_checkpoints": 9}
    run = Run(tmp_path, start, steps=6, train=train, history=BETTER_DAYS)
    run.checkpoints.save(Progress(), run.policies, run.learners, run.ranks)
    if action == "stop":
        with pytest.raises(RunFailed, match="guard length") as told:
            run.go()
        assert told.value.where == f"step 4; last good checkpoint: {tmp_path / 'step_000000'}"
        assert not (tmp_path / "step_000004").exists(), "what it stopped at is not gone on from"
    else:
        assert run.go().step == 6
    marked = [step for step, found in run.monitor.metrics.items() if "guard:length" in found]
    assert marked == {"warn": [4, 5, 6], "stop": [4], "off": []}[action]
    assert len(run.said) == (action == "warn")


def test_a_failure_before_the_first_checkpoint(tmp_path, start):
    damaged = {name: torch.full_like(weight, float("nan")) for name, weight in start.items()}
    with pytest.raises(RunFailed) as told:
        Run(tmp_path, damaged, steps=2).go()
    assert told.value.where == "step 1; last good checkpoint: none"
