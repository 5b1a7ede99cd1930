"""A run on questions of which half have no gold answer: end to end, resumed, on two ranks, and learning."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks import on_ranks
from safetensors.torch import load_file
from small_runs import HALF_KNOWN, go, half_known, small

from maporl_cli.agents.policy import register_policy
from maporl_cli.core.atomic import discard
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError
from maporl_cli.worker import train
from maporl_cli.worker.job import join, open_store

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("half_known")
    go(half_known(folder))
    return folder / "run"


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def played(run: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(run.glob("episodes/*")) for line in file.open()]


def test_from_its_config_to_its_results(trained):
    run = trained
    rows = metrics(run)[1:]
    assert [row.get("train:unscored", 0) > 0 for row in rows] == [True, True, False, False]
    assert ["verifier:brier" in row for row in rows] == [False, False, False, True]
    assert ["verifier:believed" in row for row in rows] == [False, False, True, True]
    for episode in played(run):
        known = bool(episode["question"]["answer"])
        assert (episode["correct"] is not None) is known
        assert (episode["verified"] is not None) is (episode["step"] > 2)
        assert (episode["score"] is not None) is (known or episode["step"] > 2)
    assert "20 of 40 training questions have no gold answer" in (run / "training.log").read_text()
    page = (run / "report.html").read_text()
    assert "Verifier&#39;s reliability" in page
    assert "Verifier&#39;s belief" in page
    assert not (run / "final_model" / "verifier").exists()


def test_a_resumed_run_ends_where_an_undisturbed_one_does(tmp_path):
    """From a checkpoint between two refreshes: three steps a refresh, one kept after the second."""
    every = ["reward.verifier_refresh=3", "train.max_steps=6"]
    go(half_known(tmp_path, *every, name="whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    for step in (4, 6):
        discard(tmp_path / "parts" / "checkpoints" / f"step_{step:06d}")
    (tmp_path / "parts" / "checkpoints" / "latest").unlink()
    go(half_known(tmp_path, *every, name="parts"), resume=True)
    last = Path("checkpoints") / "step_000006"
    for file in ("verifier/weights.safetensors", "agents/reporter/weights.safetensors"):
        parts, whole = (tmp_path / name / last / file for name in ("parts", "whole"))
        assert parts.read_bytes() == whole.read_bytes(), file


def train_here(settings: Config) -> None:
    ranks = join(settings, open_store())
    train(settings, resume=False, overwrite=False, command="test", display="none", ranks=ranks)


def test_two_ranks_change_nothing(trained, tmp_path):
    """The verifier sits with the reporter on one of them, and both are told what it says."""
    on_ranks(2, train_here, half_known(tmp_path))
    one, two = played(trained), played(tmp_path / "run")
    assert [[turn["token_ids"] for turn in episode["turns"]] for episode in one] == [
        [turn["token_ids"] for turn in episode["turns"]] for episode in two
    ]
    assert [episode["verified"] for episode in two] == [
        said if said is None else pytest.approx(said, abs=1e-5)
        for said in (episode["verified"] for episode in one)
    ]
    weights = [
        load_file(run / "checkpoints" / "step_000004" / "verifier" / "weights.safetensors")
        for run in (trained, tmp_path / "run")
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-5)


def test_a_policy_that_shows_no_hidden_states_cannot_be_read(tmp_path):
    register_policy("mute", lambda _: object())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="'reporter' cannot be read by a verifier") as told:
        go(small(tmp_path, "model.name=mute", "reward.verifier=learned"))
    assert "hidden_width" in told.value.fix
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_team_learns_on_the_command_line_with_half_of_the_gold_answers(tmp_path):
    plugin = tmp_path / "half.py"
    plugin.write_text(HALF_KNOWN)
    sets = [
        f"run.plugins=[{plugin}]",
        "data.train=half_known",
        "reward.verifier=learned",
        "train.max_steps=160",
        "data.max_eval_samples=200",
        "eval.baselines=[]",
    ]
    words = ["train", "--preset", "clinic", "--name", "run", "--output-dir", str(tmp_path), "--json"]
    done = subprocess.run(
        [Path(sys.executable).with_name("maporl"), *words, *(w for value in sets for w in ("--set", value))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = metrics(tmp_path / "run")
    judged = [row for row in rows if "verifier:auc" in row]
    assert judged[-1]["verifier:auc"] > 0.6
    assert judged[-1]["verifier:brier"] < judged[-1]["verifier:brier_base"]
    results = json.loads((tmp_path / "run" / "training_results.json").read_text())
    assert results["eval"]["after"]["accuracy"] > results["eval"]["before"]["accuracy"] + 0.2
