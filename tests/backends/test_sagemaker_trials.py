"""Trials of a tuning job, replayed through the images' own `train` program.

Slow: it installs `sagemaker-training` and `sagemaker-pytorch-training`, for which a compiler is needed.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sagemaker_account import BUCKET, ROLE, Requests
from small_runs import PAYING_FOR_IDS, SMALL
from training_container import TrainingContainer, image_python, refuse_without_namespaces
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.monitoring.jsonl import read_metrics

TOOLKIT = ("sagemaker-training==5.1.4", "sagemaker-pytorch-training==3.0.0")
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an image's python3, pip3 and train."""
    refuse_without_namespaces()
    found = image_python(tmp_path_factory.mktemp("image"))
    install = [str(found / "pip3"), "install", "--quiet", "--constraint", str(CONSTRAINTS), *TOOLKIT]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the images' own program cannot be installed here: {done.stderr[-500:]}")
    return found


def tuning_job(folder: Path) -> dict[str, Any]:
    (folder / "ids.py").write_text(PAYING_FOR_IDS)
    told = ["tune", "--on", "sagemaker", "--role", ROLE, "--bucket", BUCKET, "--name", "ward"]
    told += ["--detach", "--yes"]
    space = "train.learning_rate: {low: 1e-5, high: 1e-2, log: true}, train.algorithm: [rloo, grpo]"
    sets = [f"run.plugins=[{folder / 'ids.py'}]", "reward.extra_weights={ids: 1}", "tune.eval_fraction=0.2"]
    for value in (*SMALL, *sets, f"tune.space={{{space}}}", "tune.space.train.max_grad_norm=null"):
        told += ["--set", value]
    with Requests("CreateHyperParameterTuningJob") as sent:
        done = CliRunner().invoke(app, told)
    assert done.exit_code == 0, (done.output, done.exception)
    (request,) = sent
    return request


def trial(tuning: dict[str, Any], name: str, values: dict[str, str], python: Path) -> dict[str, Any]:
    """The training job that SageMaker makes of a trial: its values are text, like all others."""
    job = tuning["TrainingJobDefinition"]
    image = {**job["AlgorithmSpecification"], "ContainerEntrypoint": [str(python / "train")]}
    own = {"SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main"}
    return {
        **job,
        "TrainingJobName": name,
        "AlgorithmSpecification": {**image, "ContainerArguments": []},
        "HyperParameters": {
            **job["StaticHyperParameters"],
            **values,
            "_tuning_objective_metric": "eval:accuracy",
        },
        "Environment": {**job.get("Environment", {}), **own},
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_trials_have_values_with_their_types_and_checkpoints_of_their_own(
    account, python, tmp_path
) -> None:
    tuning = tuning_job(tmp_path)
    tried = {
        "ward-001-a": {
            "train.learning_rate": "0.00042",
            "train.warmup_steps": "3",
            "train.algorithm": "grpo",
        },
        "ward-002-b": {"train.learning_rate": "9e-03", "train.warmup_steps": "0", "train.algorithm": "rloo"},
    }
    for number, (name, values) in enumerate(tried.items()):
        values["train.kl_coeff"] = "0.05"
        request = trial(tuning, name, values, python)
        container = TrainingContainer(request, account.s3, tmp_path / name)
        # What earlier trials left lies there, since all have one address.
        assert len(list((container.ml / "checkpoints").iterdir())) == number
        container.start(python)
        assert container.end() == 0, container.printed[-6000:]
        run = container.ml / "checkpoints" / name / "ward"
        config: Config = load_config(file=run / "config.yaml").config
        assert config.train.learning_rate == float(values["train.learning_rate"])
        assert config.train.warmup_steps == int(values["train.warmup_steps"])
        assert config.train.algorithm == values["train.algorithm"]
        assert config.data.tuning_fraction == 0.2
        assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == [0, 1, 2, 3, 4]
        topology = json.loads((run / "manifest.json").read_text())["topology"]
        assert topology["world_size"] == 2, topology
        objective = next(
            one
            for one in request["AlgorithmSpecification"]["MetricDefinitions"]
            if one["Name"]
            == tuning["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["MetricName"]
        )
        read = [float(value) for value in re.findall(objective["Regex"], container.printed)]
        measured = [
            row["eval:accuracy"] for row in read_metrics(run / "metrics.jsonl") if "eval:accuracy" in row
        ]
        after = json.loads((run / "eval" / "after.json").read_text())["accuracy"]
        assert read == pytest.approx([*measured, after], rel=1e-5)
    kept = {key.split("/")[3] for key in account.objects() if key.startswith("maporl/checkpoints/ward/")}
    assert kept == set(tried)
