"""Every example runs for real: alone as its docstring says, and all four in one run as the README says."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from support import question, turn
from typer.testing import CliRunner

from maporl_cli.agents import policy as policies
from maporl_cli.agents import roles
from maporl_cli.cli.main import app
from maporl_cli.core.config import Config, RewardConfig
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.data import benchmarks
from maporl_cli.data.benchmarks import Bounded, benchmark
from maporl_cli.data.duplicates import content_number
from maporl_cli.data.writing import write_questions
from maporl_cli.rewards import component as rewards
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.checkpoint import copy_weights
from maporl_cli.worker import evaluate_run
from maporl_cli.worker.plugins import load_plugins

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SEATS = ["planner", "researcher", "analyst", "critic", "reporter"]

# Smaller than what the commands say, but the same in kind.
TINY = [
    "train.max_steps=2",
    "train.batch_size=6",
    "train.save_every=1",
    "rollout.group_size=8",
    "train.per_device_train_batch_size=16",
    "data.max_train_samples=30",
    "data.max_eval_samples=10",
]


@pytest.fixture(autouse=True)
def own_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a plug-in registers is gone after the test, so no test depends on another's plug-ins."""
    books = {name: replace(book, roles=dict(book.roles)) for name, book in roles._BOOKS.items()}
    monkeypatch.setattr(roles, "_BOOKS", books)
    monkeypatch.setattr(policies, "_PLUGINS", dict(policies._PLUGINS))
    monkeypatch.setattr(rewards, "_COMPONENTS", dict(rewards._COMPONENTS))
    monkeypatch.setattr(benchmarks, "_registered", dict(benchmarks._registered))
    monkeypatch.chdir(ROOT)  # the commands name plug-ins by paths from here
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("maporl_plugin_"):
            del sys.modules[name]


def load(name: str) -> ModuleType:
    path = ROOT / "examples" / name
    load_plugins([str(path)])
    return next(module for module in sys.modules.values() if getattr(module, "__file__", None) == str(path))


def command_in(text: str) -> list[str]:
    """The arguments of the `maporl` command that a docstring or a README shows."""
    found = re.search(r"^ *maporl (train .*?)\n(?:```|\s*\n)", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return shlex.split(found[1].replace("\\\n", " "))


def sets(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- all four together -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's command in a process of its own, two steps long."""
    command = command_in((ROOT / "examples" / "README.md").read_text())
    home = tmp_path_factory.mktemp("runs")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAPORL_")}
    maporl = [sys.executable, "-c", "from maporl_cli.cli.main import main; main()"]
    done = subprocess.run(
        [*maporl, *command, "--output-dir", str(home), "--display", "none", "--json", *sets(*TINY)],
        cwd=ROOT,
        env=environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 2
    return home / "examples"


def episodes_of(run: Path) -> list[dict[str, Any]]:
    files = [run / "episodes" / f"step_{step:06d}.jsonl" for step in (1, 2)]
    assert [len(lines(file)) for file in files] == [48, 48]
    return [episode for file in files for episode in lines(file)]


def test_the_critic_speaks_after_the_analyst_and_is_heard_by_the_reporter(run):
    end, spoke = 0, 0
    for episode in episodes_of(run):
        assert [turn["agent"] for turn in episode["turns"]] == SEATS
        analyst, critic, reporter = (
            [token for token in turn["token_ids"] if token != end] for turn in episode["turns"][2:]
        )
        _, _, _, heard_by_critic, heard_by_reporter = (turn["prompt_ids"] for turn in episode["turns"])
        assert heard_by_critic[len(heard_by_critic) - len(analyst) :] == analyst
        assert heard_by_reporter[len(heard_by_reporter) - len(critic) :] == critic
        spoke += bool(analyst and critic and reporter)
    assert spoke > 48


def test_brevity_is_scored_weighted_and_logged(run):
    seen = set()
    for episode in episodes_of(run):
        components = episode["score"]["components"]
        assert set(components) == {"accuracy", "brevity"}
        assert components["brevity"] <= components["accuracy"] == float(episode["correct"])
        assert episode["score"]["task"] == pytest.approx(
            (components["accuracy"] + 0.1 * components["brevity"]) / 1.1
        )
        assert ("brevity" in episode["score"]["reasons"]) == (components["brevity"] == 0)
        seen.add(components["brevity"])
    assert {0.0, 1.0} <= seen
    for metrics in lines(run / "metrics.jsonl")[1:]:
        step = [episode for episode in episodes_of(run) if episode["step"] == metrics["step"]]
        mean = fmean(episode["score"]["components"]["brevity"] for episode in step)
        assert metrics["reward:brevity"] == pytest.approx(mean)


@pytest.mark.parametrize("agent", SEATS)
def test_every_agents_weights_change(run, agent):
    start = load_file(run / "checkpoints" / "step_000000" / "agents" / agent / "weights.safetensors")
    final = load_file(run / "final_model" / agent / "model.safetensors")
    assert start["table"].shape == final["table"].shape == (10, 10)
    assert not torch.equal(start["table"], final["table"])


@pytest.mark.parametrize("step", [1, 2])
def test_recorded_logprobs_are_those_of_the_policy_that_sampled(run, step):
    bigram = load("policy_bigram.py").Bigram
    before = run / "checkpoints" / f"step_{step - 1:06d}" / "agents"
    weights = {agent: load_file(before / agent / "weights.safetensors") for agent in SEATS}
    for episode in lines(run / "episodes" / f"step_{step:06d}.jsonl"):
        for told in episode["turns"]:
            policy = bigram()
            copy_weights(weights[told["agent"]], policy)
            scored = policy.score([told["prompt_ids"]], [told["token_ids"]], temperature=1.0)
            assert scored.logprobs[0].tolist() == pytest.approx(told["logprobs"], abs=1e-6)
            assert told["policy_version"] == step - 1


def test_the_run_trains_on_the_benchmark_and_is_judged_by_its_other_side(run):
    triage = load("benchmark_triage.py").Triage()
    trained_on = {episode["question"]["id"] for episode in episodes_of(run)}
    judged_by = [record["id"] for record in lines(run / "eval" / "after.greedy.records.jsonl")]
    assert trained_on < {question.id for question in triage.train(0)}
    assert judged_by == [question.id for question in triage.evaluation(0)][:10]


def test_a_later_process_finds_the_plug_ins_through_the_runs_own_config(run):
    found = evaluate_run(
        Config(),
        run=run,
        benchmark=None,
        data=None,
        limit=None,
        sampled=True,
        baselines=(),
        display="none",
    )
    assert lines(Path(found["records"])) == lines(run / "eval" / "after.sampled.records.jsonl")


# --- each alone --------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_command_in_the_docstring_runs(example, tmp_path):
    """As shown, but for its size, and with bigram policies in place of weights that need a download."""
    documentation = load(example.name).__doc__
    assert documentation is not None
    assert documentation.startswith("Adds a")
    command = command_in(documentation)
    write_questions(tmp_path / "FILE.jsonl", made_up_questions(30))
    command = [word.replace("=FILE", f"={tmp_path / 'FILE.jsonl'}") for word in command]
    command = [word.replace("run.plugins=[", "run.plugins=[examples/policy_bigram.py, ") for word in command]
    home = ["--name", "alone", "--output-dir", str(tmp_path), "--display", "none", "--json"]
    done = CliRunner().invoke(app, [*command, *home, *sets(*TINY, "model.name=bigram")])
    assert done.exception is None, done.output
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 2


def made_up_questions(count: int) -> list[Question]:
    """Questions that share no wording, so that none is a near-duplicate of another."""
    return [
        Question(
            id=f"q{index}",
            text=" ".join(f"word{index}x{place}" for place in range(40)),
            options=dict(zip("ABCD", ("iron", "zinc", "lead", "tin"), strict=True)),
            answer="ABCD"[index % 4],
        )
        for index in range(count)
    ]


def test_the_readme_names_every_example():
    table = (ROOT / "examples" / "README.md").read_text()
    assert set(re.findall(r"^\| \[`(\w+\.py)`\]\(\1\)", table, re.MULTILINE)) == {
        path.name for path in EXAMPLES
    }


# --- the bigram policy -------------------------------------------------------------------------


def bigram(seed: int = 0) -> Any:
    """A policy with random weights, so that its choices are peaked and differ from word to word."""
    made = load("policy_bigram.py").Bigram()
    made.table.data.copy_(torch.tensor(keyed_generator("table", seed).normal(size=(10, 10)) * 1.5))
    return made


def streams(count: int) -> list[np.random.Generator]:
    return [keyed_generator("stream", index) for index in range(count)]


def test_bigram_samples_with_the_logprobs_that_score_gives():
    policy = bigram()
    prompts = [(0, *range(1, 1 + row % 9)) for row in range(40)]
    samples = policy.sample(prompts, streams(40), max_new_tokens=12, temperature=0.7)
    assert len({len(sample.token_ids) for sample in samples}) > 4
    scored = policy.score(prompts, [sample.token_ids for sample in samples], temperature=0.7)
    for row, sample in enumerate(samples):
        mine = scored.logprobs[row, : len(sample.token_ids)].tolist()
        assert mine == pytest.approx(sample.logprobs, abs=1e-6)
        assert sample.finished == (sample.token_ids[-1] == 0)
        assert 0 not in sample.token_ids[:-1]


def test_bigram_sampling_follows_the_softmax():
    policy = bigram()
    samples = policy.sample([(0, 4)] * 8_000, streams(8_000), max_new_tokens=2, temperature=1.4)
    softmax = (policy.table.detach() / 1.4).softmax(-1)
    first = torch.tensor([sample.token_ids[0] for sample in samples])
    assert torch.allclose(torch.bincount(first, minlength=10) / 8_000, softmax[4], atol=0.02)
    common = int(softmax[4, 1:].argmax()) + 1
    second = torch.tensor([sample.token_ids[1] for sample in samples if sample.token_ids[0] == common])
    share = torch.bincount(second, minlength=10) / len(second)
    assert torch.allclose(share, softmax[common], atol=4 * 0.5 / math.sqrt(len(second)))


def test_bigram_takes_the_likeliest_words_without_a_generator_and_is_cut_at_the_limit():
    policy = bigram()
    with torch.no_grad():
        policy.table.copy_(torch.eye(10).roll(1, dims=1) * 9)  # each word is followed by the next one
    (sample,) = policy.sample([(0, 6)], [None], max_new_tokens=9, temperature=1.0)
    assert (sample.token_ids, sample.finished) == ((7, 8, 9, 0), True)
    (cut,) = policy.sample([(0, 6)], [None], max_new_tokens=3, temperature=1.0)
    assert (cut.token_ids, cut.finished) == ((7, 8, 9), False)


def test_bigram_draws_a_turn_the_same_in_any_batch():
    policy = bigram()
    prompts = [(0, row % 10) for row in range(12)]
    together = policy.sample(prompts, streams(12), max_new_tokens=9, temperature=1.0)
    for row, stream in enumerate(streams(12)):
        mixed = policy.sample([(0, 3), prompts[row]], [None, stream], max_new_tokens=9, temperature=1.0)
        assert mixed[1] == together[row]


def test_bigram_gradient_and_entropy_are_the_softmaxs():
    policy = bigram()
    scored = policy.score([(0, 2)], [(5, 7)], temperature=0.5)
    scored.logprobs[0, 0].backward()
    chances = (policy.table.detach()[2] / 0.5).softmax(-1)
    expected = torch.zeros(10, 10)
    expected[2] = (torch.eye(10)[5] - chances) / 0.5
    assert torch.allclose(policy.trainable()["table"].grad, expected, atol=1e-6)
    logits = policy.table.detach()[[2, 5]] / 0.5
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    assert torch.allclose(scored.entropy[0], entropy, atol=1e-6)
    assert scored.entropy.requires_grad


def test_bigrams_reference_is_the_uniform_start():
    policy = bigram()
    reference = policy.reference_logprobs([(0,)], [(5, 7)], temperature=1.0)
    assert reference.tolist() == [[pytest.approx(-math.log(10))] * 2]
    assert not reference.requires_grad


def test_bigram_hears_the_words_it_knows_and_saves_its_table(tmp_path):
    policy = bigram()
    assert policy.encode("Options: (B) zinc. analyst: I doubt <end> (A)") == (0, 6, 1, 3, 5)
    assert policy.decode(policy.encode_turn("Answer: (C)")) == "Answer: (C)"
    assert policy.encode_turn("Answer: (C)") == (4, 7, 0)
    policy.save(tmp_path)
    words = json.loads((tmp_path / "words.json").read_text())
    table = load_file(tmp_path / "model.safetensors")["table"]
    assert table.shape == (len(words), len(words))
    assert torch.equal(table, policy.table)


# --- the triage benchmark ----------------------------------------------------------------------


@pytest.fixture
def triage() -> Any:
    load("benchmark_triage.py")
    return benchmark("triage")


def test_triage_is_deterministic_by_seed(triage):
    for side in (triage.train, triage.evaluation):
        assert list(side(3)) == list(side(3))
        assert list(side(3)) != list(side(4))


def test_triage_never_evaluates_on_a_ward_that_it_trains_on(triage):
    trained = [question for seed in range(3) for question in triage.train(seed)]
    judged = [question for seed in range(3) for question in triage.evaluation(seed)]
    wards = [{frozenset(question.options.values()) for question in side} for side in (trained, judged)]
    assert not wards[0] & wards[1]
    assert min(map(len, wards)) > 20
    assert not set(map(content_number, trained)) & set(map(content_number, judged))
    assert len({question.id for question in trained + judged}) == len(trained + judged)


def test_triages_answer_is_in_the_chart_alone(triage):
    for asked in [*triage.train(0), *triage.evaluation(0)]:
        sign = re.fullmatch(r"Which patient has the highest ([a-z ]+)\?", asked.text)
        assert sign is not None
        found = re.findall(rf"(\w+): [^.]*{sign[1]} (\d+)", asked.context)
        readings = {patient: int(reading) for patient, reading in found}
        assert sorted(readings) == sorted(asked.options.values())
        highest = max(readings, key=lambda patient: readings[patient])
        assert asked.options[asked.answer] == highest
        assert list(readings.values()).count(readings[highest]) == 1


def test_triages_bounds_and_no_letter_is_a_good_guess(triage):
    assert isinstance(triage, Bounded)
    chance = triage.bounds(0)["chance"]
    answers = [question.answer for question in triage.train(0)]
    for letter in "ABCD":
        assert answers.count(letter) / len(answers) == pytest.approx(chance, abs=0.04)


# --- the brevity component ---------------------------------------------------------------------


def brevity(*texts: str, answer: str | None = "A", asked: Question | None = None, **turns: Any) -> Any:
    """The measure of an episode in which planner and reporter alternate."""
    load("reward_brevity.py")
    said = [
        turn(("planner", "reporter")[index % 2], round=index // 2, text=text, **turns)
        for index, text in enumerate(texts)
    ]
    episode = Episode(asked or question(), sample=0, step=1, turns=said, answer=answer)
    return rewards.components()["brevity"](episode)


def test_brevity_pays_short_right_teams():
    assert brevity("look it up", "Answer: A").value == 1.0
    assert brevity("a" * 80, "b" * 80).value == 1.0
    assert brevity("a" * 140, "b" * 340).value == pytest.approx(0.5)
    assert brevity("a" * 400, "b" * 400).value == 0.0
    assert "400 characters" in brevity("a" * 500, "b" * 300).reason


@pytest.mark.parametrize(
    ("texts", "turns", "reason"),
    [
        (("", "Answer: A"), {}, "the planner said nothing"),
        (("...", "Answer: A"), {}, "the planner said nothing"),
        (("look it up", " \n"), {}, "the reporter said nothing"),
        (("look it", "Answer: A"), {"finished": False}, "the planner was cut at its limit"),
    ],
)
def test_brevity_pays_nothing_for_saying_nothing_or_being_cut(texts, turns, reason):
    measured = brevity(*texts, **turns)
    assert measured.value == 0.0
    assert measured.reason.startswith(reason)


@pytest.mark.parametrize("answer", ["B", None])
def test_brevity_pays_nothing_for_a_wrong_or_unreadable_answer(answer):
    assert brevity("look it up", "Answer: B", answer=answer).value == 0.0


def test_brevity_counts_all_rounds_and_does_not_apply_to_free_text():
    assert brevity("a" * 100, "b" * 100, "a" * 100, "b" * 100) == brevity("a" * 200, "b" * 200)
    free = Question(id="f", text="Why?", options={}, answer="A")
    assert brevity("look it up", "A", asked=free) is None


@given(
    st.lists(st.text("ab \n.", max_size=300), min_size=2, max_size=6),
    st.lists(st.text("ab \n.", max_size=300), min_size=2, max_size=6),
    st.floats(0.01, 50),
)
def test_no_wrong_answer_out_earns_a_right_one_whatever_brevity_weighs(right, wrong, weight):
    load("reward_brevity.py")
    reward = Reward(RewardConfig(extra_weights={"brevity": weight}), roles.role_book("guide"))
    group = [
        Episode(question(), sample, 1, [_said(index, text) for index, text in enumerate(texts)], answer)
        for sample, (texts, answer) in enumerate([(right, "A"), (wrong, "B"), (wrong, None)])
    ]
    reward.score([group])
    tasks = [episode.score.task for episode in group if episode.score is not None]
    assert tasks[0] > max(tasks[1:]) == 0.0


def _said(index: int, text: str) -> Turn:
    return turn(("planner", "reporter")[index % 2], text=text)
