import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from maporl_cli.cli.evaluation import evaluate, parse_baselines
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MaporlError, UsageError
from maporl_cli.core.run_dir import RunDir

app = typer.Typer()
app.command()(evaluate)

FOUND = {
    "accuracy": 0.9,
    "ci95": [0.8321, 0.9523],
    "n": 100,
    "correct": 90,
    "invalid": 3,
    "tokens": 5000,
    "seconds": 1.5,
    "records": "/somewhere/eval/held_out.team.greedy.records.jsonl",
    "baselines": {
        "single": {"accuracy": 0.605, "ci95": [0.506, 0.696], "n": 100, "invalid": 0, "records": "x"},
    },
}


class Worker(ModuleType):
    """Stands in for the worker, so that the command line is tested without a model."""

    def __init__(self) -> None:
        super().__init__("maporl_cli.worker")
        self.asked: dict[str, Any] = {}
        self.found: dict[str, Any] = FOUND

    def evaluate_run(self, config: Config, **options: Any) -> dict[str, Any]:
        self.asked = {"config": config, **options}
        return self.found


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    stand_in = Worker()
    monkeypatch.setitem(sys.modules, "maporl_cli.worker", stand_in)
    monkeypatch.delenv("CI", raising=False)
    return stand_in


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, MaporlError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(error: type[MaporlError], *arguments: str) -> str:
    with pytest.raises(error) as caught:
        run(*arguments)
    assert "\nFix: " in caught.value.message
    return caught.value.message


def test_without_options_the_untrained_clinic_team_is_evaluated_greedily(worker: Worker) -> None:
    run()
    config = worker.asked.pop("config")
    assert config.data.train == "clinic"
    assert worker.asked == {
        "run": None,
        "benchmark": None,
        "data": None,
        "limit": None,
        "sampled": False,
        "baselines": (),
        "display": "plain",
    }


def test_every_option_reaches_the_worker(worker: Worker, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("eval: {batch_size: 7}\nrun: {seed: 1}\n")
    run(
        *("clinic", "--config", str(settings), "--set", "team.max_rounds_per_episode=2", "--seed", "5"),
        *("--limit", "3", "--sampled", "--baselines", "single, untrained", "--display", "none"),
    )
    config = worker.asked["config"]
    assert (config.eval.batch_size, config.team.max_rounds_per_episode, config.run.seed) == (7, 2, 5)
    assert worker.asked["benchmark"] == "clinic"
    assert (worker.asked["limit"], worker.asked["sampled"]) == (3, True)
    assert worker.asked["baselines"] == ("single", "untrained")
    assert worker.asked["display"] == "none"


def test_a_run_brings_its_own_settings_and_set_goes_above_them(worker: Worker, tmp_path: Path) -> None:
    trained = Config.model_validate(
        {"run": {"name": "a", "output_dir": tmp_path, "seed": 9}, "eval": {"batch_size": 3}}
    )
    path = RunDir.open_new(trained).path
    run("--run", str(path), "--data", "questions.jsonl", "--set", "eval.batch_size=4")
    assert worker.asked["run"] == path
    assert worker.asked["data"] == Path("questions.jsonl")
    assert (worker.asked["config"].run.seed, worker.asked["config"].eval.batch_size) == (9, 4)


def test_a_run_that_is_not_there_names_the_nearest(worker: Worker, tmp_path: Path) -> None:
    RunDir.open_new(Config.model_validate({"run": {"name": "demo", "output_dir": tmp_path}}))
    assert "demo" in refused(ConfigError, "--run", str(tmp_path / "dmeo")).split("Fix:")[1]
    assert not worker.asked


def test_json_is_one_object_and_nothing_else(worker: Worker) -> None:
    output = run("--json")
    assert output.count("\n") == 1
    assert json.loads(output) == FOUND


def test_the_table_shows_each_system_with_its_interval(worker: Worker) -> None:
    lines = run("--baselines", "single").splitlines()
    (team,) = [line for line in lines if line.split()[:1] == ["team"]]
    assert team.split() == ["team", "90.0%", "83.2%", "to", "95.2%", "100", "3"]
    (single,) = [line for line in lines if line.split()[:1] == ["single"]]
    assert single.split() == ["single", "60.5%", "50.6%", "to", "69.6%", "100", "0"]
    assert lines[-1] == f"records: {FOUND['records']}"
    assert not any("caution" in line for line in lines)


def test_a_caution_stands_below_the_figures(worker: Worker) -> None:
    worker.found = FOUND | {"caution": "cannot tell whether x.jsonl was trained on"}
    assert "caution: cannot tell whether x.jsonl was trained on" in run("--display", "none").splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("clinic", "--data", "x.jsonl"),
        ("--run", "runs/a", "--preset", "clinic"),
        ("--run", "runs/a", "--config", "x.yaml"),
    ],
)
def test_contradictions_are_refused(worker: Worker, arguments: tuple[str, ...]) -> None:
    refused(UsageError, *arguments)
    assert not worker.asked


def test_a_mistyped_baseline_names_the_nearest(worker: Worker) -> None:
    assert refused(UsageError, "--baselines", "single,reporter").endswith("--baselines reporter_alone")
    assert not worker.asked


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("single", ("single",)),
        (" untrained ,single,untrained,", ("untrained", "single")),
    ],
)
def test_baselines_are_read_once_each_in_order(text: str, names: tuple[str, ...]) -> None:
    assert parse_baselines(text) == names


def test_limit_is_at_least_one(worker: Worker) -> None:
    assert CliRunner().invoke(app, ["--limit", "0"]).exit_code == 2
    assert not worker.asked
