"""`maporl tune --on sagemaker`: what is sent, shown and refused, and what comes home."""

from __future__ import annotations

import io
import json
import re
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sagemaker_server as server
from sagemaker_account import BUCKET, ROLE, Requests
from small_runs import SMALL
from typer.testing import CliRunner, Result

from maporl_cli.cli.main import app
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import MaporlError
from maporl_cli.tuning.on_sagemaker import parameter_ranges

NONE = ("tune.space.train.max_grad_norm=null", "tune.eval_fraction=0.2")
SPACE = (
    "tune.space.train.learning_rate={low: 1e-5, high: 1e-2, log: true}",
    "tune.space.train.warmup_steps={low: 0, high: 9}",
    "tune.space.train.kl_coeff=[0, 0.05]",
    "tune.space.train.algorithm=[rloo, grpo]",
)


def tune(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> Result:
    told = ["tune", "--on", "sagemaker", "--role", ROLE, "--bucket", BUCKET, "--name", "ward"]
    told += ["--output-dir", str(folder), "--trials", "3", *words]
    for value in (*SMALL, *NONE, *SPACE, *sets):
        told += ["--set", value]
    return CliRunner().invoke(app, told)


def started(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> dict[str, Any]:
    """The request that AWS got."""
    with Requests("CreateHyperParameterTuningJob") as sent:
        done = tune(folder, "--detach", "--yes", *words, sets=sets)
    assert done.exit_code == 0, (done.output, done.exception)
    (request,) = sent
    return request


def refused(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> MaporlError:
    with Requests("CreateHyperParameterTuningJob") as sent:
        done = tune(folder, "--detach", "--yes", *words, sets=sets)
    assert isinstance(done.exception, MaporlError), done.output
    assert not sent
    return done.exception


def test_what_is_sent(account, tmp_path) -> None:
    kms = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    more = (f"sagemaker.kms_key={kms}", "sagemaker.keep_alive=60", "sagemaker.tags={team: ward}")
    network = ("sagemaker.subnets=[subnet-1]", "sagemaker.security_groups=[sg-1]", "tune.parallel=2")
    plain = tune(tmp_path, "--dry-run", sets=(*more, *network))
    assert plain.exit_code == 0, plain.exception
    assert account.objects() == []
    request = started(tmp_path, sets=(*more, *network))
    assert json.loads(plain.stdout) == request, "what is started is what the dry run showed"
    settings, trial = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]
    assert settings["Strategy"] == "Bayesian"
    assert settings["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}
    objective = settings["HyperParameterTuningJobObjective"]
    assert objective == {"Type": "Maximize", "MetricName": "eval:accuracy"}
    metrics = {one["Name"]: one["Regex"] for one in trial["AlgorithmSpecification"]["MetricDefinitions"]}
    assert re.findall(metrics["eval:accuracy"], "[rank 0] step=3; eval:accuracy=0.25;") == ["0.25"]
    # What the SDK's tuner would leave out, or get wrong.
    assert trial["OutputDataConfig"]["KmsKeyId"] == kms
    assert trial["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 60
    assert trial["VpcConfig"] == {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    assert {"Key": "team", "Value": "ward"} in request["Tags"]
    assert "ContainerEntrypoint" not in trial["AlgorithmSpecification"]
    for channel in trial["InputDataConfig"]:
        uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
        assert any(f"s3://{BUCKET}/{key}".startswith(uri) for key in account.objects()), channel
    assert json.loads(trial["StaticHyperParameters"]["sagemaker_program"]) == "trial.py"


def test_the_ranges_are_those_of_a_study_here() -> None:
    config = load_config(
        preset="clinic", sets=[*NONE, *SPACE, "tune.space.model.gradient_checkpointing=[true]"]
    )
    assert parameter_ranges(config.config) == {
        "CategoricalParameterRanges": [
            {"Name": "train.kl_coeff", "Values": ["0.0", "0.05"]},
            {"Name": "train.algorithm", "Values": ["rloo", "grpo"]},
            {"Name": "model.gradient_checkpointing", "Values": ["true"]},
        ],
        "ContinuousParameterRanges": [
            {
                "Name": "train.learning_rate",
                "MinValue": "1e-05",
                "MaxValue": "0.01",
                "ScalingType": "Logarithmic",
            }
        ],
        "IntegerParameterRanges": [
            {"Name": "train.warmup_steps", "MinValue": "0", "MaxValue": "9", "ScalingType": "Linear"}
        ],
    }


def test_a_trial_is_evaluated_on_tuning_questions_and_the_study_is_known_by_its_own_config(
    account, tmp_path
) -> None:
    request = started(tmp_path)["TrainingJobDefinition"]
    place = account.channel(request, "config")
    told = tmp_path / "told.yaml"
    told.write_bytes(account.read(f"{place}/config.yaml"))
    trial = load_config(file=told).config
    assert (trial.data.tuning_fraction, trial.eval.baselines, trial.train.eval_every) == (0.2, (), 1)


@pytest.mark.parametrize(
    ("sets", "strategy", "early"),
    [
        (("tune.strategy=random",), "Random", "Auto"),
        (("tune.early_stopping=false",), "Bayesian", "Off"),
        (("tune.strategy=hyperband",), "Hyperband", "Off"),
    ],
)
def test_strategies(account, tmp_path, sets, strategy, early) -> None:
    settings = started(tmp_path, sets=sets)["HyperParameterTuningJobConfig"]
    assert (settings["Strategy"], settings["TrainingJobEarlyStoppingType"]) == (strategy, early)
    if strategy == "Hyperband":
        bounds = settings["StrategyConfig"]["HyperbandStrategyConfig"]
        assert bounds == {"MinResource": 1, "MaxResource": 6}


def test_warm_start(account, tmp_path) -> None:
    request = started(tmp_path, sets=("tune.warm_start=[earlier]",))
    parents = request["WarmStartConfig"]["ParentHyperParameterTuningJobs"]
    assert parents == [{"HyperParameterTuningJobName": "earlier"}]


def test_the_most_that_it_costs(account, tmp_path) -> None:
    """7.911 dollars an hour, 24 hours a trial, 3 trials: 569.59."""
    done = tune(tmp_path, "--dry-run")
    assert "3 trials, 1 at a time: at most $569.59 in all" in done.stderr
    error = refused(tmp_path, "--max-cost", "569")
    assert "The study may cost $569.59" in error.message
    assert error.exit_code == 3


def test_a_name_that_is_taken(account, tmp_path) -> None:
    started(tmp_path)
    done = tune(tmp_path, "--detach", "--yes")
    assert isinstance(done.exception, MaporlError)
    assert "There is a tuning job ward already." in done.exception.message
    assert done.exception.exit_code == 4


def test_a_study_in_the_way_home(account, tmp_path) -> None:
    (tmp_path / "ward").mkdir()
    done = tune(tmp_path, "--yes")
    assert isinstance(done.exception, MaporlError)
    assert "where the study would come to lie" in done.exception.message


def test_no_such_tuning_job(account, tmp_path) -> None:
    done = tune(tmp_path, "--resume")
    assert isinstance(done.exception, MaporlError)
    assert "There is no tuning job ward." in done.exception.message
    assert done.exception.exit_code == 4


def test_options_of_the_other_place(account, tmp_path) -> None:
    assert "--nproc is for a command here" in refused(tmp_path, "--nproc", "2").message
    done = CliRunner().invoke(app, ["tune", "--spot"])
    assert "--spot is for a job on SageMaker" in str(done.exception)


def trial(
    account: Any, number: int, status: str, value: float | None, values: dict[str, str], config: Any
) -> str:
    """A trial of the tuning job, as SageMaker keeps it, with what it left."""
    name = f"ward-{number:03}"
    job = server.create_job(name, tags={})
    job.hyper_parameters = {**values, "_tuning_objective_metric": "eval:accuracy"}
    job.training_job_status = status
    job.final_metric_data_list = (
        [] if value is None else [{"MetricName": "eval:accuracy", "Value": value, "Timestamp": 1.0}]
    )
    job.failure_reason = "AlgorithmError: it diverged" if status == "Failed" else None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in {"metrics.jsonl": b"", "config.yaml": to_yaml(config).encode()}.items():
            told = tarfile.TarInfo(path)
            told.size = len(content)
            archive.addfile(told, io.BytesIO(content))
    account.s3.put_object(
        Bucket=BUCKET, Key=f"maporl/jobs/{name}/output/output.tar.gz", Body=packed.getvalue()
    )
    return name


def by_name(folder: Path, *words: str) -> Result:
    told = ["tune", "--on", "sagemaker", "--resume", "--name", "ward", "--output-dir", str(folder), *words]
    return CliRunner().invoke(app, told)


def test_it_goes_on_with_no_other_settings(account, tmp_path) -> None:
    started(tmp_path)
    sets = ("train.learning_rate=1e-4", "tune.eval_fraction=0.3")
    done = tune(tmp_path, "--resume", sets=sets)
    assert isinstance(done.exception, MaporlError)
    assert (
        "ward was started with another value of train.learning_rate, tune.eval_fraction"
        in done.exception.message
    )
    assert not (tmp_path / "ward").exists()


def test_a_tuning_job_of_somebody_else(account, tmp_path) -> None:
    request = started(tmp_path)
    key = f"{account.channel(request['TrainingJobDefinition'], 'config')}/study.yaml"
    account.s3.delete_object(Bucket=BUCKET, Key=key)
    done = by_name(tmp_path)
    assert isinstance(done.exception, MaporlError)
    assert "The tuning job ward was not started by maporl." in done.exception.message
    assert done.exception.exit_code == 4


def test_what_it_finds_comes_home_as_a_study(account, tmp_path, monkeypatch) -> None:
    """Its name alone says which: it knows its settings."""
    started(tmp_path)
    config = load_config(preset="clinic", sets=[*SMALL, *NONE, *SPACE]).config
    tried = [("1e-04", "3", "0.0", "rloo"), ("0.001", "9", "0.05", "grpo"), ("0.009", "0", "0.0", "rloo")]
    outcomes = [("Completed", 0.5), ("Completed", 0.75), ("Failed", None)]
    keys = ("train.learning_rate", "train.warmup_steps", "train.kl_coeff", "train.algorithm")
    names = [
        trial(account, number, *outcome, dict(zip(keys, values, strict=True)), config)
        for number, (values, outcome) in enumerate(zip(tried, outcomes, strict=True))
    ]
    monkeypatch.setattr(
        server.SageMakerResponse,
        "list_training_jobs_for_hyper_parameter_tuning_job",
        lambda self: server.ActionResult({"TrainingJobSummaries": [summary(name) for name in names]}),
        raising=False,
    )
    done = by_name(tmp_path, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    event = json.loads(done.stdout.splitlines()[-1])
    assert [(one["state"], one["value"]) for one in event["trials"]] == [
        ("finished", 0.5),
        ("finished", 0.75),
        ("failed", None),
    ]
    best = event["best"]
    assert best["values"] == dict(zip(keys, (0.001, 9, 0.05, "grpo"), strict=True))
    assert "it diverged" in event["trials"][2]["failure"]
    found = load_config(file=tmp_path / "ward" / "best.yaml").config
    assert (found.train.learning_rate, found.train.algorithm, found.data.tuning_fraction) == (
        1e-3,
        "grpo",
        None,
    )
    run = load_config(file=tmp_path / "ward" / "trial_001" / "config.yaml").config
    assert (run.run.name, run.train.learning_rate, run.data.tuning_fraction) == ("trial_001", 1e-3, 0.2)
    assert (tmp_path / "ward" / "report.html").is_file()
    again = tune(tmp_path, "--resume")
    assert "exists" in str(again.exception)


def test_it_can_be_stopped(account, tmp_path, monkeypatch) -> None:
    started(tmp_path)
    stopped: list[str] = []

    def stop(self: Any) -> Any:
        stopped.append(json.loads(self.body)["HyperParameterTuningJobName"])
        return server.ActionResult({})

    monkeypatch.setattr(server.SageMakerResponse, "stop_hyper_parameter_tuning_job", stop, raising=False)
    ended = CliRunner().invoke(app, ["jobs", "stop", "ward", "--yes"])
    assert "ward has ended already: Completed." in ended.stdout  # as moto's do at once
    (job,) = server.backend("sagemaker").hyper_parameter_tuning_jobs.values()
    job.hyper_parameter_tuning_job_status = "InProgress"
    asked = CliRunner().invoke(app, ["jobs", "stop", "ward"])
    assert "Stop ward and all of its trials?" in str(asked.exception)
    assert stopped == []
    done = CliRunner().invoke(app, ["jobs", "stop", "ward", "--yes"])
    assert "ward is being stopped." in done.stdout
    assert stopped == ["ward"]
    unknown = CliRunner().invoke(app, ["jobs", "stop", "nobody", "--yes"])
    assert "There is no job nobody." in str(unknown.exception)


def summary(name: str) -> dict[str, Any]:
    made = datetime.now(UTC) - timedelta(hours=1)
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{name}",
        "CreationTime": made,
        "TrainingJobStatus": "Completed",
        "TunedHyperParameters": {},
    }
