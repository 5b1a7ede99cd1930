"""`maporl tune` as a user types it: trials that train, what is printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import SMALL
from typer.testing import CliRunner, Result

from maporl_cli.cli.main import app
from maporl_cli.core.errors import MaporlError
from maporl_cli.core.run_dir import RunDir

SPACE = "tune.space={train.learning_rate: [1e-3, 1e-4], train.warmup_steps: null, train.kl_coeff: null}"


def invoke(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> Result:
    told = ["tune", "--name", "study", "--output-dir", str(folder), "--trials", "1", *words]
    for value in (*SMALL, SPACE, "tune.space.train.max_grad_norm=null", "tune.confirm_seeds=1", *sets):
        told += ["--set", value]
    return CliRunner().invoke(app, told)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("tuned")
    told = invoke(folder, "--json")
    assert told.exit_code == 0, told.output
    return folder, json.loads(told.stdout.splitlines()[-1]), told.stderr


def test_a_study_of_real_trainings(done):
    folder, event, said = done
    assert event["event"] == "done"
    (trial,) = event["trials"]
    run = RunDir.existing(Path(trial["run"]))
    results = json.loads(run.results.read_text())
    assert trial["value"] == event["best"]["value"] == results["eval"]["after"]["accuracy"]
    assert results["eval"]["after"]["n"] == event["tuning_questions"] == 4
    assert set(trial["on_the_way"]) == {"1", "2", "3"}
    assert run.report.is_file()
    again = RunDir.existing(folder / "study" / "trial_000_seed_1").load_config()
    assert (again.run.seed, again.train.learning_rate) == (1, trial["values"]["train.learning_rate"])
    assert "trial 0: train.learning_rate" in said
    assert "trial 0 again, with seed 1" in said


def test_going_on_repeats_nothing_and_is_told_as_a_table(done):
    folder, event, _ = done
    before = {path: path.stat().st_mtime_ns for path in (folder / "study").glob("*/manifest.json")}
    told = invoke(folder, "--resume", "--display", "none")
    assert told.exit_code == 0, told.output
    assert "learning_rate" in told.stdout
    assert f"{event['best']['value']:.3f}" in told.stdout
    assert "is the best of 1 trials" in told.stdout
    assert "best.yaml --name NEW" in told.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_name_alone_goes_on(done):
    folder, event, _ = done
    words = [
        "tune",
        "--resume",
        "--name",
        "study",
        "--output-dir",
        str(folder),
        "--json",
        "--display",
        "none",
    ]
    told = CliRunner().invoke(app, words)
    assert json.loads(told.stdout)["best"] == event["best"]
    assert told.stderr == ""


def test_a_plan_changes_nothing(tmp_path):
    told = invoke(tmp_path, "--dry-run")
    assert told.exit_code == 0, told.output
    assert "train.learning_rate: [0.001, 0.0001]" in told.stdout
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("words", "sets", "code", "what"),
    [
        (("--resume", "--overwrite"), (), 2, "--resume keeps a study"),
        (("--resume",), (), 3, "There is no study"),
        ((), ("tune.space.train.nothing=[1]",), 3, "train.nothing"),
        ((), ("tune.objective=eval:f1",), 3, "tune.objective"),
        (("--dry-run",), ("tune.space.train.learning_rate={low: 1, high: 0}",), 3, "1 is not below 0"),
    ],
)
def test_refused(tmp_path, words, sets, code, what):
    error = invoke(tmp_path, *words, sets=sets).exception
    assert isinstance(error, MaporlError)
    assert error.exit_code == code
    assert what in error.message
    assert "Fix: " in error.message
    assert not (tmp_path / "study").exists()
