"""Every example runs for real: alone as its docstring says, the first four together as the README does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from example_files import EXAMPLES, PLUGINS, ROOT, load
from safetensors.torch import load_file
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.types import Question
from maporl_cli.data.writing import write_questions
from maporl_cli.training.checkpoint import copy_weights

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


@pytest.mark.usefixtures("undrawn")
def test_a_later_process_finds_the_plug_ins_through_the_runs_own_config(run):
    done = CliRunner().invoke(app, ["eval", "--run", str(run), "--sampled", "--display", "none", "--json"])
    assert done.exception is None, done.output
    records = lines(Path(json.loads(done.stdout)["records"]))
    assert all("brevity" in record.pop("score")["components"] for record in records)
    assert records == lines(run / "eval" / "after.sampled.records.jsonl")


# --- each alone --------------------------------------------------------------------------------


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("example", PLUGINS, ids=lambda path: path.stem)
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
    told = set(re.findall(r"^\| \[`(\w+\.py)`\]\(\1\)", table, re.MULTILINE))
    assert told == {path.name for path in PLUGINS}
    assert all(f"({path.name})" in table for path in EXAMPLES)
