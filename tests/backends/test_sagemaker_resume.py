"""`maporl train --on sagemaker --resume`: when a job goes on with a run, and what of it is kept here."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import sagemaker_server as server
from sagemaker_account import BUCKET, MANIFEST, Requests, command, ends_at_once, launch, refused
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, DataError, MissingError, UsageError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.splits import load_split

FEW = ("data.max_train_samples=4", "data.max_eval_samples=2")
GOING_ON = ("--name", "ward", "--resume", "--preset", "clinic")
RESUME = ["train", "--on", "sagemaker", "--resume", "--yes"]


def begun(account: Any, request: dict[str, Any], manifest: dict[str, Any] = MANIFEST) -> None:
    """Puts there what a job copies to S3 when it begins."""
    _, _, prefix = request["CheckpointConfig"]["S3Uri"].removeprefix("s3://").partition("/")
    run = f"{prefix}{prefix.split('/')[-2]}"
    config = account.read(f"{account.channel(request, 'config')}/config.yaml")
    for name, content in (("config.yaml", config), ("manifest.json", json.dumps(manifest).encode())):
        account.s3.put_object(Bucket=BUCKET, Key=f"{run}/{name}", Body=content)


def state(name: str, *told: str) -> None:
    server.set_state(server.backend("sagemaker").training_jobs[name], *told)


def test_a_run_goes_on_only_where_it_left_checkpoints_and_nobody_trains_it(account) -> None:
    assert "There are no checkpoints of a run ward." in refused(ConfigError, *GOING_ON, sets=FEW)
    begun(account, launch("--name", "ward", sets=FEW))
    account.s3.put_object(Bucket=BUCKET, Key="maporl/checkpoints/left/left/metrics.jsonl", Body=b"")
    assert "--resume goes on with that run" in refused(ConfigError, "--name", "left")
    state("ward", "InProgress", "Training")
    told = refused(ConfigError, *GOING_ON, sets=FEW)
    assert "The job ward trains the run ward now." in told
    assert "maporl jobs stop ward" in told
    state("ward", "Stopped")
    address = f"s3://{BUCKET}/maporl/checkpoints/ward/"
    server.create_job("later", run="ward", CheckpointConfig={"S3Uri": address})
    state("later", "Stopping")
    assert "The job later trains the run ward now." in refused(ConfigError, *GOING_ON, sets=FEW)
    state("later", "Completed")
    server.create_job("other", run="ward", CheckpointConfig={"S3Uri": "s3://b/x/"})
    state("other", "InProgress")  # it trains a run of that name elsewhere
    told = refused(ConfigError, *GOING_ON, sets=(*FEW, "train.learning_rate=0.5"))
    assert "was started with another value of train.learning_rate" in told
    request = launch(*GOING_ON, sets=FEW)
    assert request["TrainingJobName"].startswith("ward-20")
    assert request["CheckpointConfig"]["S3Uri"] == address


def test_a_run_goes_on_with_its_own_config_and_comes_home_over_its_earlier_state(
    account, monkeypatch, tmp_path
) -> None:
    ends_at_once(account, monkeypatch, status="Completed", secondary="Completed")
    with Requests("CreateTrainingJob") as sent:
        sets = ("train.learning_rate=0.25", *FEW)
        told = CliRunner().invoke(app, command("--yes", "--name", "ward", sets=sets))
    assert told.exception is None, told.exception
    begun(account, sent[0])
    with Requests("CreateTrainingJob") as sent:
        done = CliRunner().invoke(app, [*RESUME, "--set", "run.name=ward"])
    assert done.exception is None, done.exception
    shipped = account.read(f"{account.channel(sent[0], 'config')}/config.yaml")
    assert b"learning_rate: 0.25" in shipped
    run = RunDir.existing(tmp_path / "runs" / "ward")
    assert run.load_config().train.learning_rate == 0.25
    assert isinstance(CliRunner().invoke(app, RESUME).exception, UsageError)

    # Of a run that went on here, or that never was the job's, nothing is lost.
    for kept in (MANIFEST | {"resumed": [{"command": "maporl train --resume"}]}, {}):
        run.manifest.write_text(json.dumps(kept))
        with Requests("CreateTrainingJob") as sent:
            done = CliRunner().invoke(app, [*RESUME, "--name", "ward"])
        assert isinstance(done.exception, ConfigError)
        assert "runs/ward is not the one that the job goes on with" in done.exception.message
        assert (sent, json.loads(run.manifest.read_text())) == ([], kept)
    run.config.write_text(run.config.read_text().replace("seed: 0", "seed: 9", 1))
    done = CliRunner().invoke(app, [*RESUME, "--name", "ward"])
    assert isinstance(done.exception, ConfigError)
    assert "was started with another value of run.seed" in done.exception.message


def test_the_newest_job_of_a_run_says_how_it_goes_on_and_where(account, monkeypatch) -> None:
    begun(account, launch("--name", "ward", sets=FEW))
    launch(*GOING_ON, "--spot", sets=FEW)
    later = SimpleNamespace(strftime=lambda _: "20990101-000000")  # each second has one name
    monkeypatch.setattr("maporl_cli.backends.sagemaker.plan.time", later)
    words = [*RESUME, "--detach", "--name", "ward"]
    with Requests("CreateTrainingJob") as sent:
        done = CliRunner().invoke(app, words)
    assert done.exception is None, done.exception
    assert sent[0]["EnableManagedSpotTraining"] is True
    for elsewhere in (["--region", "us-west-2"], ["--set", "sagemaker.region=us-west-2"]):
        done = CliRunner().invoke(app, [*words, *elsewhere])
        assert isinstance(done.exception, MissingError)
        assert "There is no job ward.\nWhere: SageMaker in us-west-2" in done.exception.message


def test_a_run_goes_on_with_the_plug_ins_and_questions_that_it_began_with(account, tmp_path) -> None:
    first, second = (tmp_path / folder / "same.py" for folder in ("one", "two"))
    for file in (first, second):
        file.parent.mkdir()
        file.write_text(f"# {file.parent.name}\n")
    sets = (f"run.plugins=[{first}, {second}]", *FEW)
    request = launch("--name", "ward", sets=sets)
    channel = account.channel(request, "config")
    assert account.read(f"{channel}/files/0-same.py") == b"# one\n"
    assert account.read(f"{channel}/files/1-same.py") == b"# two\n"
    hashes = {
        f"/opt/ml/input/data/config/files/{number}-same.py": sha256(file.read_bytes()).hexdigest()
        for number, file in enumerate((first, second))
    }
    data = load_split(load_config(preset="clinic", sets=sets).config).sources | hashes
    begun(account, request, MANIFEST | {"data": data})
    launch(*GOING_ON, sets=sets)
    time.sleep(1)  # jobs that go on with a run are named by the second
    second.write_text("# changed\n")
    told = refused(DataError, *GOING_ON, sets=sets)
    assert f"The data of the run has changed since it was started.\nWhere: {second}" in told
    begun(account, request, MANIFEST | {"data": data | {"clinic (training)": "other questions"}})
    second.write_text("# two\n")
    assert "Where: clinic (training)" in refused(DataError, *GOING_ON, sets=sets)
