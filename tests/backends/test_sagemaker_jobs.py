"""`maporl jobs` on SageMaker and S3 as moto plays them over HTTP."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sagemaker_server as server
from moto.core.exceptions import JsonRESTError
from moto.sagemaker.responses import SageMakerResponse
from sagemaker_server import run_command
from typer.testing import CliRunner

from maporl_cli.backends.sagemaker import jobs
from maporl_cli.cli import confirm
from maporl_cli.cli.main import app
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import ConfigError, DataError, Interrupted, MissingError, UsageError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.run_lock import alone_in
from maporl_cli.data.s3 import Bucket

JOB = "demo-1"
PRICED = {"maporl:usd-per-hour": "7.09", "maporl:price-date": "2026-11-01"}
SHORT = [
    "data.max_train_samples=4",
    "data.max_eval_samples=2",
    "train.max_steps=1",
    "train.cold_start.copy_steps=1",
    "train.cold_start.role_steps=1",
    "eval.baselines=[]",
]


@pytest.fixture
def searches(aws, monkeypatch) -> Any:
    """No job at all; the requests that search for some."""
    server.share_models(monkeypatch)
    server.reset()
    yield server.add_search(monkeypatch)
    server.reset()


def invoke(*words: str, code: int = 0) -> Any:
    return run_command("jobs", *words, code=code)


def created(name: str, minutes: int, **more: Any) -> Any:
    job = server.create_job(name, **more)
    job.creation_time = job.training_start_time = server.START + timedelta(minutes=minutes)
    job.training_end_time = job.training_start_time + timedelta(minutes=30)
    return job


def test_ours_are_listed_newest_first_with_what_they_cost(searches) -> None:
    done = created("done", 0, tags=PRICED)
    done.billable_time_in_seconds = done.training_time_in_seconds = 1800
    created("somebody-elses", 1, run=None)
    spot = created(
        "spot",
        2,
        run="other",
        tags=PRICED,
        EnableManagedSpotTraining=True,
        ResourceConfig={"InstanceType": "ml.g5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 5},
    )
    spot.training_time_in_seconds, spot.billable_time_in_seconds = 1000, 300
    server.set_state(spot, "Stopped", "MaxRuntimeExceeded")
    running = created("running", 3, tags=PRICED)
    running.training_start_time = datetime.now(UTC) - timedelta(hours=1)
    server.set_state(running, "InProgress", "Training")
    waiting = created("waiting", 4, tags={"maporl:usd-per-hour": "dear"})
    waiting.training_start_time = None
    server.set_state(waiting, "InProgress", "Starting")
    rows = [line.split("  ") for line in invoke("ls").stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    begun = f"{server.START:%Y-%m-%dT%H:%M:%SZ}"
    assert cells[0] == ["JOB", "STATUS", "INSTANCES", "STARTED", "BILLED", "COST", "RUN"]
    assert [row[0] for row in cells[1:]] == ["waiting", "running", "spot", "done"]
    waited, ran, cheap, full = cells[1:]
    assert waited[1:] == ["InProgress (Starting)", "1 × ml.g5.12xlarge", "not yet", "0 s", "unknown", "demo"]
    assert ran[1] == "InProgress (Training)"
    assert ran[5].startswith("$7.09 so far") or ran[5].startswith("$7.1")
    assert cheap[1:3] == ["Stopped (MaxRuntimeExceeded)", "2 × ml.g5.xlarge (spot)"]
    assert cheap[4:] == ["300 s", f"at most ${300 / 3600 * 7.09 * 2:.2f}", "other"]
    assert full[1:] == ["Completed", "1 × ml.g5.12xlarge", begun, "1,800 s", "$3.54", "demo"]
    assert len(searches) == 1
    found = json.loads(invoke("ls", "--json", "--limit", "3").stdout)["jobs"]
    assert [job["job"] for job in found] == ["waiting", "running", "spot"]
    assert found[0]["usd"] is None
    assert found[2] == {
        "job": "spot",
        "run": "other",
        "status": "Stopped",
        "secondary_status": "MaxRuntimeExceeded",
        "instance": "ml.g5.xlarge",
        "instances": 2,
        "spot": True,
        "started": f"{server.START + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}",
        "billable_seconds": 300,
        "usd": 1.1817,
        "usd_is_upper_limit": True,
    }


def test_many_jobs_are_few_requests(searches, monkeypatch) -> None:
    monkeypatch.setattr(jobs, "_A_PAGE", 2)
    for number in range(6):
        created(f"job-{number}", number)
    found = json.loads(invoke("ls", "--limit", "5", "--json").stdout)["jobs"]
    assert [job["job"] for job in found] == [f"job-{number}" for number in (5, 4, 3, 2, 1)]
    assert len(searches) == 3


def test_no_job_is_said_and_no_error(searches) -> None:
    done = invoke("ls")
    assert done.stdout == ""
    assert "no job" in done.stderr
    assert json.loads(invoke("ls", "--json").stdout) == {"jobs": []}


def test_all_of_a_job(searches) -> None:
    job = created(
        JOB,
        0,
        tags=PRICED,
        EnableManagedSpotTraining=True,
        CheckpointConfig={"S3Uri": "s3://b/ck"},
    )
    job.training_time_in_seconds, job.billable_time_in_seconds = 1000, 300
    job.secondary_status_transitions = server.changes(("Training", "going\x1b[2J"), ("Failed", "out"))
    job.final_metric_data_list = [{"MetricName": "train:loss", "Value": 0.25, "Timestamp": server.START}]
    server.set_state(job, "Failed", reason="AlgorithmError: " + "x" * 900)
    shown = {line[:13].strip(): line[13:] for line in invoke("show", JOB).stdout.splitlines()}
    assert shown["status"] == "Failed"
    assert shown["billed"] == "300 s, 70% less for being spot"
    assert shown["cost"] == "at most $0.59 ($7.09 an hour and instance on demand, 2026-11-01)"
    assert shown["failure"] == "AlgorithmError: " + "x" * 900
    assert shown["models"] == f"s3://maporl-jobs/maporl/jobs/{JOB}/output/model.tar.gz"
    assert shown["output"] == f"s3://maporl-jobs/maporl/jobs/{JOB}/output/output.tar.gz"
    assert shown["checkpoints"] == "s3://b/ck"
    assert shown["metric"] == "train:loss = 0.25"
    assert shown["log"] == f"maporl logs {JOB}"
    assert r"Training: going\x1b[2J" in invoke("show", JOB).stdout
    told = json.loads(invoke("show", JOB, "--json").stdout)
    assert [state["status"] for state in told["states"]] == ["Training", "Failed"]
    assert told["states"][0]["from"] == f"{server.START:%Y-%m-%dT%H:%M:%SZ}"
    assert told["metrics"] == {"train:loss": 0.25}
    assert (told["spot_saving"], told["usd_per_hour"], told["price_date"]) == (0.7, 7.09, "2026-11-01")
    assert told["failure"].endswith("x" * 900)


def test_a_job_of_somebody_else_is_shown_as_such(searches) -> None:
    created("other", 0, run=None)
    said = invoke("show", "other").stdout
    assert "not launched by maporl" in said
    assert "cost         unknown" in said


def test_a_job_that_is_not_there_names_one_like_it(searches, monkeypatch) -> None:
    created(JOB, 0)
    created("demo-3", 0, run=None)
    for command in ("show", "stop", "fetch"):
        message = str(invoke(command, "demo-2", code=4).exception)
        assert "There is no job demo-2." in message
        assert f"did you mean {JOB}?" in message
        assert "at most 63" in str(invoke(command, "no_name", code=4).exception)

    def forbid(self: Any) -> Any:
        raise JsonRESTError("AccessDeniedException", "no sagemaker:Search")

    monkeypatch.setattr(SageMakerResponse, "search", forbid)
    assert "There is no job demo-2." in str(invoke("show", "demo-2", code=4).exception)
    assert "no sagemaker:Search" in str(invoke("ls", code=4).exception)


@pytest.fixture
def training(searches, monkeypatch) -> Any:
    """A job that trains, where jobs can be stopped."""
    server.add_stop(monkeypatch)
    job = created(JOB, 0, CheckpointConfig={"S3Uri": "s3://b/ck"})
    server.set_state(job, "InProgress", "Training")
    return job


def test_a_job_is_stopped_when_somebody_agrees(training, monkeypatch) -> None:
    refused = invoke("stop", JOB, code=2)
    assert isinstance(refused.exception, UsageError)
    assert refused.exception.fix == f"maporl jobs stop {JOB} --yes"
    answers = iter(["n\n", "\n", "", "y\n"])
    terminal = SimpleNamespace(isatty=lambda: True, readline=lambda: next(answers))
    monkeypatch.setattr(confirm, "sys", SimpleNamespace(stdin=terminal, stderr=sys.stderr))
    for _ in range(3):
        assert isinstance(invoke("stop", JOB, code=130).exception, Interrupted)
        assert training.training_job_status == "InProgress"
    done = invoke("stop", JOB)
    assert training.training_job_status == "Stopping"
    assert "has 120 seconds to write a checkpoint. It stays at s3://b/ck" in done.stderr
    assert done.stdout == f"{JOB} is being stopped. maporl logs {JOB} -f shows how it ends.\n"


def test_a_job_that_has_ended_or_is_being_stopped_is_left_alone(training, monkeypatch) -> None:
    server.set_state(training, "Stopping")
    assert "is being stopped" in invoke("stop", JOB).stdout
    server.set_state(training, "Completed")
    assert invoke("stop", JOB).stdout == f"{JOB} has ended already: Completed.\n"
    # It ends between the look and the request.
    server.set_state(training, "InProgress", "Uploading")
    stop = SageMakerResponse.stop_training_job

    def end_first(self: Any) -> Any:
        server.set_state(training, "Completed")
        return stop(self)

    monkeypatch.setattr(SageMakerResponse, "stop_training_job", end_first)
    assert invoke("stop", JOB, "--yes").stdout == f"{JOB} has ended already: Completed.\n"


def test_a_stop_that_is_refused_is_an_error(training, monkeypatch) -> None:
    def forbid(self: Any) -> Any:
        raise JsonRESTError("AccessDeniedException", "no sagemaker:StopTrainingJob")

    monkeypatch.setattr(SageMakerResponse, "stop_training_job", forbid)
    assert "no sagemaker:StopTrainingJob" in str(invoke("stop", JOB, "--yes", code=4).exception)


def archive(
    *members: tuple[str | tarfile.TarInfo, bytes], tree: Path | None = None, root: str = "."
) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        if tree is not None:
            tar.add(tree, root)
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def bucket(searches, tmp_path) -> Any:
    """The bucket of a job that has ended, with the config that it was launched with."""
    client = server.root("s3")
    place = {"LocationConstraint": server.REGION}
    client.create_bucket(Bucket=server.BUCKET, CreateBucketConfiguration=place)
    created(JOB, 0)
    config = load_config(
        preset="clinic",
        sets=["run.name=demo", "run.output_dir=runs", "train.max_steps=7"],
    ).config
    put("input/config/local.yaml", to_yaml(config).encode())
    yield client
    for one in client.list_objects_v2(Bucket=server.BUCKET).get("Contents", []):
        client.delete_object(Bucket=server.BUCKET, Key=one["Key"])
    client.delete_bucket(Bucket=server.BUCKET)


def put(name: str, content: bytes) -> None:
    server.root("s3").put_object(Bucket=server.BUCKET, Key=f"maporl/jobs/{JOB}/{name}", Body=content)


def put_results() -> None:
    put(
        "output/model.tar.gz",
        archive(
            ("config.yaml", b"data: {train: /opt/ml}"), ("final_model/planner/w", b"x"), ("code/a", b"a")
        ),
    )
    put(
        "output/output.tar.gz",
        archive(
            ("./config.yaml", b"data: {train: /opt/ml}"),
            ("./manifest.json", b"{}"),
            ("./training.log.gz", gzip.compress(b"one\ntwo\n")),
            ("./training_results.json", b"{}"),
            ("./checkpoints/step_000007/trainer.json", b"{}"),
            (link("./wandb/latest-run", "run-1"), b""),
            ("./wandb/run-1/x", b"x"),
        ),
    )


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_jobs_run_is_a_run_here(bucket, tmp_path) -> None:
    put_results()
    done = invoke("fetch", JOB)
    assert done.stdout == f"runs/demo: all that {JOB} left\n"
    assert done.stderr == ""
    assert files(tmp_path) == [
        "runs/demo/checkpoints/step_000007/trainer.json",
        "runs/demo/config.yaml",
        "runs/demo/final_model/planner/w",
        "runs/demo/manifest.json",
        "runs/demo/training.log",
        "runs/demo/training_results.json",
        "runs/demo/wandb/run-1/x",
    ]
    run = RunDir.existing(Path("runs/demo"))
    assert run.training_log.read_text() == "one\ntwo\n"
    config = run.load_config()
    assert (config.run.name, config.run.output_dir, config.data.train) == ("demo", Path("runs"), "clinic")
    assert config.train.max_steps == 7
    assert run.config.read_text().startswith("# maporl train --config runs/demo/config.yaml --name NEW\n")


def test_another_place_is_what_the_config_says_then(bucket, tmp_path) -> None:
    put_results()
    told = json.loads(invoke("fetch", JOB, "--output-dir", "home", "--json").stdout)
    assert told == {"job": JOB, "status": "Completed", "run": "home/demo", "lacking": []}
    assert RunDir.existing(Path("home/demo")).load_config().run.output_dir == Path("home")


def test_a_run_that_is_there_is_kept_unless_told_otherwise(bucket, tmp_path) -> None:
    put_results()
    run = RunDir(tmp_path / "runs" / "demo")
    run.path.mkdir(parents=True)
    (run.path / "mine").touch()
    assert "it is no run" in str(invoke("fetch", JOB, "--overwrite", code=3).exception)
    run.config.touch()
    assert "--overwrite replaces it" in str(invoke("fetch", JOB, code=3).exception)
    with alone_in(run):
        assert isinstance(invoke("fetch", JOB, "--overwrite", code=3).exception, ConfigError)
    assert files(run.path) == ["config.yaml", "mine"]
    invoke("fetch", JOB, "--overwrite")
    assert "mine" not in files(run.path)
    assert (run.final_model / "planner" / "w").is_file()


def test_a_job_that_goes_on_has_nothing_to_hand_out(bucket) -> None:
    put_results()
    server.set_state(server.backend("sagemaker").training_jobs[JOB], "InProgress", "Training")
    message = str(invoke("fetch", JOB, code=4).exception)
    assert "has not ended" in message
    assert f"Fix: maporl logs {JOB} -f waits for it" in message


def test_a_job_that_failed_is_fetched_as_far_as_it_came(bucket, tmp_path) -> None:
    job = server.backend("sagemaker").training_jobs[JOB]
    server.set_state(job, "Failed", reason="AlgorithmError: no memory")
    message = str(invoke("fetch", JOB, code=4).exception)
    assert "left nothing" in message
    assert "Why: AlgorithmError: no memory" in message
    cut = gzip.compress(b"one\n" + os.urandom(100_000))
    put("output/output.tar.gz", archive(("metrics.jsonl", b""), ("training.log.gz", cut[:50_000])))
    done = invoke("fetch", JOB)
    assert "failed. Why: AlgorithmError: no memory" in done.stderr
    assert "left nothing of its models" in done.stderr
    run = RunDir.existing(tmp_path / "runs" / "demo")
    assert files(run.path) == ["config.yaml", "metrics.jsonl", "training.log", "training.log.gz"]
    assert run.training_log.read_bytes().startswith(b"one\n")


def test_a_job_that_maporl_did_not_launch_is_not_fetched(bucket) -> None:
    put_results()
    created("other", 0, run=None).input_data_config = None
    assert "was not launched by maporl" in str(invoke("fetch", "other", code=4).exception)
    bucket.delete_object(Bucket=server.BUCKET, Key=f"maporl/jobs/{JOB}/input/config/local.yaml")
    assert "was not launched by maporl" in str(invoke("fetch", JOB, code=4).exception)


OUTSIDE = {
    "absolute": ("/tmp/maporl-was-here", b"x"),
    "above": ("final_model/../../../above", b"x"),
    "link out": (link("final_model/l", "../../../../etc"), b""),
    "absolute link": (link("final_model/l", "/etc/passwd"), b""),
    "hard link": (link("final_model/l", "final_model/planner/w", tarfile.LNKTYPE), b""),
    "device": (link("final_model/l", "", tarfile.CHRTYPE), b""),
    "pipe": (link("final_model/l", "", tarfile.FIFOTYPE), b""),
}


@pytest.mark.parametrize("which", OUTSIDE)
def test_an_archive_that_leads_elsewhere_is_refused(bucket, tmp_path, which: str) -> None:
    put_results()
    put("output/model.tar.gz", archive(("final_model/planner/w", b"x"), OUTSIDE[which]))
    refused = invoke("fetch", JOB, code=3)
    assert isinstance(refused.exception, DataError)
    assert f"s3://{server.BUCKET}/maporl/jobs/{JOB}/output/model.tar.gz" in refused.exception.message
    assert files(tmp_path) == []
    assert not Path("/tmp/maporl-was-here").exists()


def test_a_file_behind_a_link_comes_to_lie_inside(bucket, tmp_path) -> None:
    put("output/output.tar.gz", archive((link("a", "b"), b""), ("b/x", b"x"), ("a/y", b"y")))
    invoke("fetch", JOB)
    assert files(tmp_path / "runs" / "demo") == ["a/y", "b/x", "config.yaml"]


def test_nothing_is_left_of_what_does_not_come_whole(bucket, tmp_path, monkeypatch) -> None:
    put_results()
    whole = archive(("final_model/planner/w", os.urandom(5000)))
    for damaged in (whole[:-2000], b"no archive", whole[:3000] + b"\0" * 50 + whole[3050:]):
        put("output/model.tar.gz", damaged)
        assert "is damaged" in str(invoke("fetch", JOB, code=1).exception)
        assert files(tmp_path) == []
    put_results()
    size = Bucket.size
    monkeypatch.setattr(Bucket, "size", lambda self, key: (size(self, key) or 0) + 1)
    assert "is not what is there" in str(invoke("fetch", JOB, code=1).exception)
    monkeypatch.setattr(Bucket, "size", size)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tarfile.TarFile, "makefile", full)
    assert "no room left" in str(invoke("fetch", JOB, code=1).exception)
    monkeypatch.setattr(tarfile.TarFile, "makefile", interrupted)
    invoke("fetch", JOB, code=130)
    assert files(tmp_path) == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_eval_ask_and_report_take_a_run_that_was_fetched(bucket, tmp_path) -> None:
    """A run that was trained, in the two archives that a job makes of it."""
    from small_runs import go, small

    from maporl_cli.data.benchmarks import benchmark
    from maporl_cli.monitoring.report import write_report

    config = small(tmp_path / "job", *SHORT, name="demo")
    go(config)
    there = RunDir.of(config)
    put("input/config/local.yaml", to_yaml(config).encode())
    put("output/model.tar.gz", archive(tree=there.final_model, root="final_model"))
    shutil.rmtree(there.final_model)
    there.config.write_text("data: {train: /opt/ml/input/data/train}")
    put("output/output.tar.gz", archive(tree=there.path))
    shutil.rmtree(tmp_path / "job")
    invoke("fetch", JOB, "--output-dir", "runs")
    for words in (
        ("ask", next(iter(benchmark("clinic").train(0))).text, "--run", "runs/demo"),
        ("eval", "--run", "runs/demo", "--json"),
    ):
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, (done.output, done.exception)
        assert done.stdout
    run = RunDir.existing(Path("runs/demo"))
    page = write_report(run).read_text()
    assert ("runs/demo" in page, "not finished" in page) == (True, False)
    assert sorted(path.name for path in run.final_model.iterdir()) == [
        "analyst", "planner", "reporter", "researcher",
    ]  # fmt: skip


def test_without_credentials(searches, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for words in (("ls",), ("show", JOB), ("stop", JOB, "--yes"), ("fetch", JOB)):
        refused = invoke(*words, code=4).exception
        assert isinstance(refused, MissingError)
        assert refused.fix.startswith("aws configure")


def test_instances_that_were_kept_for_another_job_are_billed_too() -> None:
    kept = {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 900}
    description = {
        "TrainingJobName": "warm",
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "BillableTimeInSeconds": 900,
        "WarmPoolStatus": kept,
        "ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "InstanceCount": 2},
    }
    job = jobs.Job(description, {"maporl:usd-per-hour": "8"})
    assert (job.billable, job.usd) == (1800, 8.0)
