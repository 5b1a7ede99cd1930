"""An evaluation on several ranks, and one that is stopped or killed: real processes, the same figures."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from launched import BIN, ranks_of
from small_runs import go, small

from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.worker import Request, evaluate_run

pytestmark = pytest.mark.usefixtures("undrawn")

KILLS = 10
ASKED: dict[str, Any] = {
    "baselines": ("untrained", "single", "majority"),
    "checks": ("silenced",),
    "sampled": True,
    "seeds": 2,
}
FEW = "eval.batch_size=2"


def evaluated(run: Path, *, resume: bool = False) -> dict[str, Any]:
    """In this process, alone."""
    request = Request(run=run, resume=resume, **ASKED)
    return figures(evaluate_run(small(run.parent, "eval.baselines=[single]", FEW), request, display="none"))


def figures(found: Any) -> Any:
    """Without where the records are, and how long it took."""
    if isinstance(found, dict):
        passing = ("records", "seconds_per_question")
        return {key: figures(value) for key, value in found.items() if key not in passing}
    return found


def records(run: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted((run / "eval").glob("held_out-sampled*jsonl*"))}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    go(small(folder, "eval.baselines=[single]"))
    return folder / "run"


@pytest.fixture(scope="module")
def alone(trained) -> tuple[dict[str, Any], dict[str, str]]:
    found = evaluated(trained)
    return json.loads(json.dumps(found)), records(trained)


@pytest.fixture
def run(trained, alone, tmp_path) -> Path:
    """The run, as it was before it was evaluated."""
    copy = tmp_path / "run"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("held_out-sampled*"))
    return copy


def test_two_ranks_come_to_the_same_figures_and_records(run, alone, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(small(tmp_path, "eval.baselines=[single]", FEW)))
    request = Request(run=run, **ASKED).to_json()
    words = ["--nproc-per-node", "2", "-m", "maporl_cli.worker", "--config", str(config)]
    done = subprocess.run(
        [BIN / "torchrun", *words, "--evaluate", request], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert figures(json.loads(done.stdout)) == alone[0]
    assert records(run) == alone[1], "no parts are left, and every line is the same"


class Going:
    """`maporl eval`, under way."""

    def __init__(self, run: Path, *words: str) -> None:
        told = ["eval", "--run", str(run), "--baselines", ",".join(ASKED["baselines"]), "--seeds", "2"]
        told += ["--checks", "silenced", "--set", FEW, *words]
        self._told = run / "eval"
        self.process = subprocess.Popen([str(BIN / "maporl"), *told], stderr=subprocess.PIPE, text=True)

    def until_records(self, lines: int) -> None:
        deadline = time.monotonic() + 120
        while self.records() < lines:
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def records(self) -> int:
        return sum(file.read_bytes().count(b"\n") for file in self._told.glob("held_out-sampled*jsonl*"))


@pytest.mark.parametrize(
    "words",
    [pytest.param((), marks=pytest.mark.slow, id="alone"), pytest.param(("--nproc", "2"), id="two ranks")],
)
def test_ctrl_c_keeps_the_answers_and_says_how_to_go_on(run, alone, words):
    going = Going(run, *words)
    going.until_records(30)
    os.kill(going.process.pid, signal.SIGINT)
    said = going.process.communicate(timeout=120)[1]
    assert going.process.returncode == 130, said
    assert "the answers so far are kept" in said
    assert "Fix: run the same command with --resume" in said
    assert said.count("Fix:") == 1
    assert "Traceback" not in said
    assert 30 <= going.records() < sum(text.count("\n") for text in alone[1].values())
    assert json.loads(json.dumps(evaluated(run, resume=True))) == alone[0]
    assert records(run) == alone[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_kills_in_a_row_and_the_same_figures_in_the_end(run, alone):
    chance = random.Random(0)
    there = 0
    for kill in range(KILLS):
        going = Going(run, *(("--nproc", "2") if kill % 2 else ()), *(("--resume",) if kill else ()))
        going.until_records(there + chance.randint(1, 12))
        going.process.kill()
        going.process.communicate()
        time.sleep(1)  # ranks end with their launcher
        there = going.records()
    assert json.loads(json.dumps(evaluated(run, resume=True))) == alone[0]
    assert records(run) == alone[1]


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_evaluation_and_the_answers_are_kept(run, alone):
    going = Going(run, "--nproc", "2")
    going.until_records(5)
    ranks_of(going.process.pid)[1].kill()
    said = going.process.communicate(timeout=120)[1]
    assert going.process.returncode == 1
    assert "was killed by SIGKILL." in said
    assert "run the same command with --resume to go on from the answers so far" in said
    assert "lower eval.batch_size" in said
    assert said.count("Fix:") == 1
    assert json.loads(json.dumps(evaluated(run, resume=True))) == alone[0]
