"""A job that `maporl train --on sagemaker` created, run by the SDK's own launcher in a container's place."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from sagemaker_account import BUCKET, launch
from small_runs import PAYING_FOR_IDS, SMALL, go, small
from training_container import TrainingContainer, image_python, refuse_without_namespaces
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.run_dir import RunDir
from maporl_cli.monitoring.jsonl import read_metrics
from maporl_cli.worker.final_model import open_final_model
from maporl_cli.worker.narrator import Narrator

AGENTS = ("planner", "researcher", "analyst", "reporter")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    refuse_without_namespaces()
    return image_python(tmp_path_factory.mktemp("image"))


def learning(folder: Path) -> tuple[str, ...]:
    """Settings with which policies so young learn something at every step."""
    (folder / "ids.py").write_text(PAYING_FOR_IDS)
    return (
        f"run.plugins=[{folder / 'ids.py'}]",
        "reward.extra_weights={ids: 1}",
        "eval.baselines=[]",
        "train.max_steps=6",
    )


def learned(run: Path) -> list[dict[str, Any]]:
    """A run's metrics without those that are times."""
    times = ("time", "train:idle")
    return [
        {name: value for name, value in row.items() if "seconds" not in name and name not in times}
        for row in read_metrics(run / "metrics.jsonl")
    ]


def test_a_job_is_stopped_goes_on_elsewhere_and_ends_as_a_training_here(account, python, tmp_path) -> None:
    sets = learning(tmp_path)
    request = launch("--name", "ward", sets=(*SMALL, *sets))

    first = TrainingContainer(request, account.s3, tmp_path / "first")
    first.start(python)
    first.until("step=2;")
    first.stop()
    assert first.end() != 0
    assert "Stopped on all ranks." in first.printed
    assert first.failure == "", "a stop is no failure"
    assert "step=6;" not in first.printed
    kept = "maporl/checkpoints/ward/ward/checkpoints/latest"
    step = account.s3.get_object(Bucket=BUCKET, Key=kept)["Body"].read().decode()
    assert step.strip() in ("step_000002", "step_000003", "step_000004", "step_000005")

    second = TrainingContainer(request, account.s3, tmp_path / "second")
    second.start(python)
    assert second.end() == 0, second.printed[-4000:]
    assert f"going on from step {int(step.strip()[-6:])}" in second.printed

    # Every metric that the job defines is found by its own expression, as often as it was measured.
    printed = first.printed + second.printed
    own = learned(second.ml / "checkpoints" / "ward")
    assert [row["step"] for row in own] == list(range(7))
    for metric in request["AlgorithmSpecification"]["MetricDefinitions"]:
        found = [float(value) for value in re.findall(metric["Regex"], printed)]
        measured = [row[metric["Name"]] for row in own if row.get(metric["Name"]) is not None]
        assert len(found) >= len(measured), metric
        for value in measured:
            assert any(told == pytest.approx(value, rel=1e-5) for told in found), metric
        if metric["Name"] in ("train:accuracy", "train:reward", "planner:tokens"):
            assert len(measured) == 6
        if metric["Name"] in ("train:loss", "analyst:grad_norm", "eval:accuracy"):
            assert measured

    here = small(tmp_path, *sets, name="here")
    go(here)
    for mine, theirs in zip(learned(RunDir.of(here).path), own, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)

    model, output = second.ml / "model", second.ml / "output" / "data"
    for agent in AGENTS:
        theirs = load_file(model / "final_model" / agent / "model.safetensors")
        mine = load_file(RunDir.of(here).final_model / agent / "model.safetensors")
        assert theirs.keys() == mine.keys()
        assert all((theirs[name] - mine[name]).abs().max() < 1e-5 for name in mine)
    assert {path.name for path in model.iterdir()} == {"final_model", "config.yaml", "code", "files"}
    assert not any("cache" in str(path) or "huggingface" in str(path) for path in model.rglob("*"))
    assert set(open_final_model(RunDir(model), Narrator("none")).policies) == set(AGENTS)  # fit to be served
    whole = {
        "training_results.json",
        "training_summary.json",
        "report.html",
        "manifest.json",
        "training.log.gz",
    }
    assert whole <= {path.name for path in output.iterdir()}
    assert {path.name for path in (output / "checkpoints").iterdir()} == {"latest", "step_000006"}
    assert "going on from step" in gzip.decompress((output / "training.log.gz").read_bytes()).decode()
    assert json.loads((output / "training_results.json").read_text())["steps"] == 6

    fetched = CliRunner().invoke(app, ["jobs", "fetch", "ward"])
    assert fetched.exception is None, fetched.exception
    home = RunDir.existing(tmp_path / "runs" / "ward")
    assert (home.load_config().run.plugins, home.load_config().run.name) == (here.run.plugins, "ward")
    assert learned(home.path) == own
    for agent in AGENTS:
        assert (home.final_model / agent / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_instances_train_what_one_does(account, python, tmp_path) -> None:
    # The plan is for the eight GPUs that two such instances have, which are two replicas.
    sets = (*learning(tmp_path), "train.per_device_train_batch_size=8")
    request = launch("--name", "pair", "--instances", "2", sets=(*SMALL, *sets))
    hosts = [
        TrainingContainer(request, account.s3, tmp_path / f"host{index}", hosts=2, index=index)
        for index in range(2)
    ]
    for host in hosts:
        host.start(python)
    for host in hosts:
        assert host.end() == 0, host.printed[-4000:]
    assert "[rank 0] rank 0 of 4: planner" in hosts[0].printed
    assert "[rank 3] rank 3 of 4: reporter" in hosts[1].printed
    here = small(tmp_path, *sets, name="here")
    go(here)
    first = hosts[0].ml / "checkpoints" / "pair"
    for mine, theirs in zip(learned(RunDir.of(here).path), learned(first), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    assert {path.name for path in (hosts[1].ml / "output" / "data").rglob("rank_*.log")} == {
        "rank_2.log",
        "rank_3.log",
    }
    assert not any((hosts[1].ml / "model").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_preset_clinic_is_learned_in_a_job_and_what_comes_home_answers(account, python, tmp_path) -> None:
    request = launch("--name", "learned", sets=("eval.baselines=[]",))
    host = TrainingContainer(request, account.s3, tmp_path / "host")
    host.start(python)
    assert host.end(within=2000) == 0, host.printed[-4000:]
    read = {
        metric["Name"]: [float(value) for value in re.findall(metric["Regex"], host.printed)]
        for metric in request["AlgorithmSpecification"]["MetricDefinitions"]
    }
    assert read["eval:accuracy"][0] < 0.3 < 0.9 < read["eval:accuracy"][-1]
    assert len(read["train:reward"]) == len(read["analyst:loss"]) == 240
    assert read["train:reward"][-1] > read["train:reward"][0]
    assert CliRunner().invoke(app, ["jobs", "fetch", "learned"]).exception is None
    asked = [
        "eval",
        "--run",
        "runs/learned",
        "--limit",
        "40",
        "--baselines",
        "none",
        "--checks",
        "none",
        "--json",
    ]
    done = CliRunner().invoke(app, asked)
    assert done.exception is None, done.exception
    assert json.loads(done.stdout)["accuracy"] > 0.85
