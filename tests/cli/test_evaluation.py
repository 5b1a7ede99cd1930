import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from maporl_cli.cli.evaluation import evaluate, listed
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MaporlError, UsageError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.systems import BASELINES
from maporl_cli.worker import Request

app = typer.Typer()
app.command()(evaluate)

FOUND = {
    "accuracy": 0.9,
    "ci95": [0.8321, 0.9523],
    "above_chance": 0.875,
    "n": 100,
    "invalid_share": 0.03,
    "tokens_per_question": 51.4,
    "records": "/somewhere/eval/held_out.records.jsonl",
    "baselines": {
        "single": {
            "accuracy": 0.605,
            "ci95": [0.506, 0.696],
            "above_chance": 0.506,
            "invalid_share": 0.0,
            "tokens_per_question": 12.6,
        },
    },
    "comparisons": {"single": {"difference": 0.295, "ci95": [0.19, 0.4], "p_holm": 0.00002}},
    "conversation": [
        {
            "round": 0,
            "agent": "planner",
            "turns": 100,
            "stances": 0,
            "wrong_to_right": 0,
            "right_to_wrong": 0,
        },
        {
            "round": 1,
            "agent": "reporter",
            "turns": 100,
            "stances": 97,
            "wrong_to_right": 30,
            "right_to_wrong": 4,
        },
    ],
    "contributions": {"planner": {"difference": 0.41, "ci95": [0.3, 0.52], "p_holm": 0.0312}},
    "consistency": 0.875,
    "alarm": "",
}


class Worker(ModuleType):
    """Stands in for the worker, so that the command line is tested without a model."""

    def __init__(self) -> None:
        super().__init__("maporl_cli.worker")
        self.Request = Request
        self.asked: dict[str, Any] = {}
        self.found: dict[str, Any] = FOUND

    def evaluate_run(self, config: Config, request: Request, *, display: str) -> dict[str, Any]:
        self.asked = {"config": config, "request": request, "display": display}
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
    assert worker.asked["config"].data.train == "clinic"
    assert worker.asked["request"] == Request(checks=("shuffled", "silenced"))
    assert worker.asked["display"] == "plain"


def test_every_option_reaches_the_worker(worker: Worker, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("eval: {batch_size: 7}\nrun: {seed: 1}\n")
    run(
        *("clinic", "--config", str(settings), "--set", "team.max_rounds_per_episode=2", "--seed", "5"),
        *("--limit", "3", "--seeds", "2", "--baselines", "single, untrained", "--display", "none"),
        *("--checks", "none", "--resume"),
    )
    config = worker.asked["config"]
    assert (config.eval.batch_size, config.team.max_rounds_per_episode, config.run.seed) == (7, 2, 5)
    assert worker.asked["request"] == Request(
        benchmark="clinic",
        limit=3,
        sampled=True,
        seeds=2,
        baselines=("single", "untrained"),
        checks=(),
        resume=True,
    )
    assert worker.asked["display"] == "none"


def test_a_run_brings_its_own_settings_and_set_goes_above_them(worker: Worker, tmp_path: Path) -> None:
    trained = Config.model_validate(
        {"run": {"name": "a", "output_dir": tmp_path, "seed": 9}, "eval": {"batch_size": 3}}
    )
    path = RunDir.open_new(trained).path
    run("--run", str(path), "--data", "questions.jsonl", "--set", "eval.batch_size=4")
    assert worker.asked["request"].run == path
    assert worker.asked["request"].data == Path("questions.jsonl")
    assert (worker.asked["config"].run.seed, worker.asked["config"].eval.batch_size) == (9, 4)


def test_a_run_that_is_not_there_names_the_nearest(worker: Worker, tmp_path: Path) -> None:
    RunDir.open_new(Config.model_validate({"run": {"name": "demo", "output_dir": tmp_path}}))
    assert "demo" in refused(ConfigError, "--run", str(tmp_path / "dmeo")).split("Fix:")[1]
    assert not worker.asked


def test_json_is_one_object_and_nothing_else(worker: Worker) -> None:
    output = run("--json")
    assert output.count("\n") == 1
    assert json.loads(output) == FOUND


def test_the_table_shows_each_system_with_its_interval(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    lines = run("--baselines", "single").splitlines()
    (team,) = [line for line in lines if line.split()[:1] == ["team"] and "%" in line]
    assert team.split() == "team 90.0% 83.2% to 95.2% 87.5% 3.0% 51".split()
    single, compared = [line for line in lines if line.split()[:1] == ["single"]]
    assert single.split() == "single 60.5% 50.6% to 69.6% 50.6% 0.0% 13".split()
    assert compared.split() == "single +29.5% 19.0% to 40.0% < .001".split()
    assert "tokens read and sampled 51 13".split() in [line.split() for line in lines], "and further figures"
    assert lines[-1] == f"records: {FOUND['records']}"
    assert not any("caution" in line or "alarm" in line for line in lines)


def test_no_name_is_cut_on_a_narrow_screen(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = FOUND["baselines"]["single"]
    worker.found = FOUND | {"baselines": {"reporter_alone": found}}
    assert "…" not in run()
    assert sum("reporter_alone" in line for line in run().splitlines()) == 2, (
        "below the team; further figures"
    )


def test_what_the_agents_did_is_shown(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    lines = run("--baselines", "single").splitlines()
    turns = [line.split() for line in lines if "round" in line]
    assert turns == ["reporter, round 2 97 of 100 30 4".split()], (
        "a turn that never stands for one is not told"
    )
    (lost,) = [line for line in lines if line.split()[:1] == ["planner"]]
    assert lost.split() == "planner 41.0% 30.0% to 52.0% .031".split()
    assert "same option when they stand in another order: 87.5%" in lines


def test_an_alarm_stands_below_the_figures(worker: Worker) -> None:
    worker.found = FOUND | {"alarm": "training raised the reward"}
    assert "alarm: training raised the reward" in run("--display", "none").splitlines()


def test_a_caution_stands_below_the_figures(worker: Worker) -> None:
    worker.found = FOUND | {"caution": "cannot tell whether x.jsonl was trained on"}
    assert "caution: cannot tell whether x.jsonl was trained on" in run("--display", "none").splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("clinic", "--data", "x.jsonl"),
        ("--split", "dev"),
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


def test_letters_alone_are_asked_for_without_checks(worker: Worker) -> None:
    run("--scoring", "loglikelihood", "--limit", "3", "--resume")
    assert worker.asked["request"] == Request(limit=3, loglikelihood=True, resume=True)
    run("--scoring", "loglikelihood", "--baselines", "untrained", "--checks", "none")
    assert worker.asked["request"] == Request(baselines=("untrained",), loglikelihood=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sampled",),
        ("--seeds", "2"),
        ("--checks", "shuffled"),
        ("--baselines", "majority"),
        ("--baselines", "zero_shot"),
        ("--baselines", "untrained,single"),
    ],
)
def test_what_needs_talk_is_refused_where_nobody_speaks(worker: Worker, arguments: tuple[str, ...]) -> None:
    told = refused(UsageError, "--scoring", "loglikelihood", *arguments)
    assert f"leave out {arguments[0]}" in told
    assert not worker.asked


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("none", ()),
        ("single", ("single",)),
        (" untrained ,single,untrained,", ("single", "untrained")),
    ],
)
def test_a_list_is_read_once_each_in_our_order(text: str, names: tuple[str, ...]) -> None:
    assert listed(text, BASELINES, "--baselines") == names


def test_limit_is_at_least_one(worker: Worker) -> None:
    assert CliRunner().invoke(app, ["--limit", "0"]).exit_code == 2
    assert not worker.asked


@pytest.mark.parametrize("words", [("--model", "smollm2-135m"), ("--endpoint", "http://localhost:1/v1")])
def test_a_run_has_its_own_policies(worker: Worker, words: tuple[str, ...]) -> None:
    told = refused(UsageError, "--run", "runs/x", *words)
    assert words[0] in told
    assert "--config runs/x/config.yaml" in told
    assert not worker.asked


def test_another_model(worker: Worker) -> None:
    run("--preset", "smollm2", "--model", "mine")
    assert worker.asked["config"].model.name == "mine"
    assert worker.asked["request"].model is None


def test_a_server_speaks_for_the_guides_team(worker: Worker) -> None:
    run("--endpoint", "http://x/v1", "--model", "m")
    assert (worker.asked["request"].endpoint, worker.asked["request"].model) == ("http://x/v1", "m")
    assert worker.asked["config"].team.roles == "guide"
