"""The parts of a job's own program that need no container: what it reads, and what it leaves behind."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session

from maporl_cli.backends.sagemaker import bundle, container, delivery, environment, paths
from maporl_cli.backends.sagemaker.environment import Container
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import ConfigError, Interrupted, MaporlError, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.monitoring.job_lines import MetricLines
from maporl_cli.training import checkpoint


@pytest.fixture
def ml(tmp_path, monkeypatch) -> Iterator[Path]:
    """What is /opt/ml in a container, whose first process decides on its signals."""
    kept = {number: signal.getsignal(number) for number in container.STOPS}
    root = tmp_path / "ml"
    (root / "input" / "config").mkdir(parents=True)
    for module in (container, delivery, environment, paths):
        for name, value in vars(module).copy().items():
            if isinstance(value, Path) and value.is_relative_to("/opt/ml"):
                monkeypatch.setattr(module, name, root / value.relative_to("/opt/ml"))
    yield root
    for number, handler in kept.items():
        signal.signal(number, handler)


def told(ml: Path, hosts: tuple[str, ...] = ("algo-2", "algo-1"), **hyperparameters: str) -> dict[str, str]:
    """SageMaker's files, on the first of these hosts; its variables."""
    resources = {"hosts": hosts, "current_host": hosts[0], "network_interface_name": "eth0"}
    (ml / "input" / "config" / "resourceconfig.json").write_text(json.dumps(resources))
    (ml / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    return {"TRAINING_JOB_NAME": "ward", "SM_NUM_GPUS": "4"}


def test_a_host_knows_its_place(ml) -> None:
    here = Container.read(told(ml))
    assert (here.job, here.host, here.index, here.gpus) == ("ward", "algo-2", 1, 4)
    assert here.meeting == "algo-1:7777"
    assert here.values is None
    assert not here.debug
    assert Container.read(told(ml) | {"SAGEMAKER_TRAINING_DEBUG": "1"}).debug


def test_outside_of_a_container_nothing_is_pretended(ml, monkeypatch, capsys) -> None:
    assert container.main() == 1
    failure = (ml / "output" / "failure").read_text()
    assert "no training container of SageMaker" in failure
    assert "Fix: " in failure
    with pytest.raises(RunFailed, match="TRAINING_JOB_NAME"):
        Container.read({name: value for name, value in told(ml).items() if name == "SM_NUM_GPUS"})


def test_jobs_of_a_tuning_keep_their_checkpoints_apart(ml) -> None:
    config = clinic(ml)
    channel = ml / "input" / "data" / "config"
    channel.mkdir(parents=True)
    (channel / "config.yaml").write_text(to_yaml(config))
    alone = container.config_of(Container.read(told(ml)))
    assert RunDir.of(alone).path == ml / "checkpoints" / "ward"
    values = {
        "train.learning_rate": "1e-05",
        "train.warmup_steps": "7",
        "train.algorithm": "grpo",
        "model.gradient_checkpointing": "true",
        "train.max_steps": "null",
        "train.batch_size": "12",
    }
    own = {"_tuning_objective_metric": "eval:accuracy", "sagemaker_program": "trial.py"}
    tuned = container.config_of(Container.read(told(ml, **own, **values)))
    assert RunDir.of(tuned).path == ml / "checkpoints" / "ward" / "ward"
    train = tuned.train
    assert (train.learning_rate, train.warmup_steps, train.algorithm) == (1e-5, 7, "grpo")
    assert (tuned.model.gradient_checkpointing, train.max_steps) == (True, None)
    # 12 × 8 episodes come out even in passes of 32, and not in the preset's 128.
    assert (train.batch_size, train.per_device_train_batch_size) == (12, 32)
    other = told(ml, **own, **values | {"train.learning_rate": "-1"})
    with pytest.raises(ConfigError, match=r"train\.learning_rate"):
        container.config_of(Container.read(other))


def test_a_failure_fits_where_sagemaker_shows_it_and_keeps_its_fix(ml) -> None:
    error = RunFailed("Rank 2 (analyst) failed.", where="rank_2.log", why="x" * 5000, fix="lower model.dtype")
    delivery.write_failure(error)
    text = (ml / "output" / "failure").read_text()
    assert len(text) <= 1024
    assert text.startswith("Rank 2 (analyst) failed.\nWhere: rank_2.log\nWhy: xxx")
    assert text.endswith(" …\nFix: lower model.dtype")
    delivery.write_failure(RunFailed("y" * 5000, fix="lower model.dtype"))
    text = (ml / "output" / "failure").read_text()
    assert len(text) <= 1024
    assert text.endswith(" …\nFix: lower model.dtype")
    delivery.write_failure(RunFailed("Short.", why="because", fix="do"))
    assert (ml / "output" / "failure").read_text() == "Short.\nWhy: because\nFix: do"


def test_a_run_that_ended_early_leaves_what_it_has(ml) -> None:
    run = RunDir(ml / "checkpoints" / "ward")
    for step in ("step_000001", "step_000002"):
        (run.checkpoints / step).mkdir(parents=True)
        (run.checkpoints / step / "trainer.json").write_text(step)
    (run.checkpoints / "latest").write_text("step_000002\n")
    run.training_log.write_text("a line\n")
    run.config.write_text("run: {}\n")
    (run.path / ".half-written").write_text("")
    delivery.deliver(run, range(2))
    output = ml / "output" / "data"
    found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    latest = {"checkpoints/latest", "checkpoints/step_000002/trainer.json"}
    assert found == latest | {"config.yaml", "training.log.gz"}
    assert not (ml / "model").exists()
    delivery.deliver(run, range(2))  # a second time, as after a stop that a restart follows


def test_secrets_come_from_secrets_manager(aws, monkeypatch) -> None:
    Session().client("secretsmanager").create_secret(Name="wandb/key", SecretString="sealed")
    monkeypatch.setenv("WANDB_API_KEY", "")
    container._read_secrets({"WANDB_API_KEY": "wandb/key"})
    assert os.environ["WANDB_API_KEY"] == "sealed"
    with pytest.raises(MissingError) as lost:
        container._read_secrets({"WANDB_API_KEY": "gone"})
    assert "has no secret of the name that sagemaker.secrets.WANDB_API_KEY gives" in lost.value.what


def test_metric_lines_are_single_writes_that_a_pipe_never_mixes() -> None:
    """Two processes write at once, each more than a pipe holds; every line arrives whole."""
    program = (
        "import sys\nfrom maporl_cli.monitoring.job_lines import MetricLines\n"
        "rank = int(sys.argv[1])\nlines = MetricLines(rank)\n"
        "for step in range(400):\n"
        "    lines.log(step, {f'agent{n}:loss': rank + n / 7 for n in range(40)} | {'odd': float('inf')})\n"
    )
    reading, writing = os.pipe()
    ranks = [subprocess.Popen([sys.executable, "-c", program, str(rank)], stdout=writing) for rank in (1, 2)]
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    assert [rank.wait() for rank in ranks] == [0, 0]
    for rank in (1, 2):
        expected = [
            f"[rank {rank}] step={step}; " + " ".join(f"agent{n}:loss={rank + n / 7:.6g};" for n in range(40))
            for step in range(400)
        ]
        assert [line for line in lines if line.startswith(f"[rank {rank}]")] == expected
    assert len(lines) == 800


def test_what_does_not_fit_in_one_write_goes_on_in_the_next(capfd) -> None:
    MetricLines(0).log(7, {f"metric{n}": float(n) for n in range(600)})
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) > 1
    assert all(len(line) < 4096 and line.startswith("[rank 0] step=7; ") for line in lines)
    assert sum(line.count("=") - 1 for line in lines) == 600


def clinic(ml: Path) -> Config:
    sets = ["run.name=ward", f"run.output_dir={ml / 'checkpoints'}"]
    return load_config(preset="clinic", sets=sets).config


def begin(ml: Path, monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """What a container finds when it begins to run `clinic`."""
    (ml / "input" / "data" / "config").mkdir(parents=True, exist_ok=True)
    (ml / "input" / "data" / "config" / "config.yaml").write_text(to_yaml(clinic(ml)))
    for name, value in told(ml, hosts or ("algo-1",)).items():
        monkeypatch.setenv(name, value)


def ends(monkeypatch: pytest.MonkeyPatch, error: MaporlError | None, run: RunDir | None = None) -> list[Any]:
    """Lets ranks train a step of a run, where one is given, and end so; what each start of them was told."""
    starts: list[Any] = []

    def train(config: Config, **options: Any) -> None:
        starts.append((config, options, dict(os.environ)))
        if run is not None:
            with run.rank_log(0).open("a") as log:
                log.write("step 1\n")
        if error is not None:
            raise error

    monkeypatch.setattr(container, "train_on_ranks", train)
    return starts


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def a_run(ml: Path) -> RunDir:
    run = RunDir(ml / "checkpoints" / "ward")
    (run.final_model / "planner").mkdir(parents=True)
    (run.final_model / "planner" / "w").write_text("weights")
    run.config.write_text("run: {}\n")
    for rank in range(4):
        run.rank_log(rank).parent.mkdir(exist_ok=True)
        run.rank_log(rank).write_text(f"rank {rank}\n")
    return run


def test_of_several_hosts_only_the_first_hands_out_the_run(ml) -> None:
    run = a_run(ml)  # as SageMaker copied it to every host when the job began
    delivery.deliver(run, range(2, 4))
    found = sorted(path.relative_to(ml).as_posix() for path in (ml / "output").rglob("*.log"))
    assert found == ["output/data/logs/rank_2.log", "output/data/logs/rank_3.log"]
    assert not (ml / "model").exists()
    delivery.deliver(run, range(2))
    assert (ml / "model" / "final_model" / "planner" / "w").read_text() == "weights"


def test_a_jobs_model_can_be_served_as_it_is(ml) -> None:
    code, files = ml / "input" / "data" / "code", ml / "input" / "data" / "config" / "files"
    for folder in (code, files):
        folder.mkdir(parents=True)
    (files / "0-roles.py").write_text("a plug-in")
    (files / "__pycache__").mkdir()
    (files / "__pycache__" / "0-roles.pyc").write_text("its byte code")
    bundle.write_code(code, clinic(ml))
    wheel, *pins = (code / "requirements.txt").read_text().splitlines()
    assert wheel.startswith("./maporl-")
    delivery.deliver(a_run(ml), range(4))
    delivery.deliver(RunDir(ml / "checkpoints" / "ward"), range(4))  # a second time
    model = ml / "model"
    assert [one.name for one in (model / "files").iterdir()] == ["0-roles.py"]
    served = (model / "code" / "requirements.txt").read_text().splitlines()
    assert served == [f"{model}/code/{wheel.removeprefix('./')}", *pins]
    assert Path(served[0]).is_file()
    assert (code / "requirements.txt").read_text().splitlines() == [wheel, *pins], "the job's own is another"
    told = runpy.run_path(str(model / "code" / "inference.py"))
    assert {"model_fn", "input_fn", "predict_fn", "output_fn"} <= told.keys()
    assert told["model_fn"].__module__ == "maporl_cli.serving.handler"


def test_results_are_copied_where_two_disks_cannot_share_a_file(ml, monkeypatch) -> None:
    def other_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(delivery.os, "link", other_disk)
    delivery.deliver(a_run(ml), range(4))
    assert (ml / "model" / "final_model" / "planner" / "w").read_text() == "weights"


@pytest.mark.parametrize("error", [None, RunFailed("Rank 1 failed.", fix="lower it")])
def test_a_disk_that_fills_up_at_the_end_is_a_failure_in_words(ml, monkeypatch, error) -> None:
    """And it never hides why the job failed before that."""
    run = a_run(ml)
    begin(ml, monkeypatch)
    ends(monkeypatch, error)

    def full(*_: object) -> None:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN, "a late stop would cost the results"
        raise OSError(28, "No space left on device", str(run.config))

    monkeypatch.setattr(container, "deliver", full)
    assert container.main() == 1
    failure = (ml / "output" / "failure").read_text()
    assert ("There is no room left" if error is None else "Rank 1 failed.") in failure


def test_a_job_that_was_refused_hands_out_nothing_of_an_earlier_one(ml, monkeypatch) -> None:
    a_run(ml)
    begin(ml, monkeypatch)
    ends(monkeypatch, ConfigError("The run was started with another value of run.seed.", fix="leave it out"))
    assert container.main() == 3
    assert "another value of run.seed" in (ml / "output" / "failure").read_text()
    assert not (ml / "model").exists()
    assert not (ml / "output" / "data").exists()


def test_a_run_that_was_half_copied_is_mended_or_begun_anew(ml) -> None:
    config = clinic(ml)
    run = a_run(ml)
    run.config.unlink()
    whole = run.checkpoints / "step_000002"
    whole.mkdir(parents=True)
    (whole / "trainer.json").write_text("{}")
    (whole / "manifest.json").write_text(json.dumps({"files": checkpoint._digests(whole)}))
    container._mend(config, run)  # `latest` is not there either, and nobody needs it
    assert run.load_config() == config
    run.config.unlink()
    (whole / "manifest.json").unlink()
    container._mend(config, run)
    assert not run.path.exists()


def test_only_the_first_host_mends_the_run_and_each_hands_out_its_own_ranks(ml, monkeypatch) -> None:
    run = a_run(ml)
    run.config.unlink()
    run.rank_log(5).write_text("rank 5\n")
    begin(ml, monkeypatch, "algo-2", "algo-1")
    ends(monkeypatch, None)
    assert container.main() == 0
    assert run.path.is_dir()
    assert files(ml / "output" / "data") == ["logs/rank_5.log"]
    begin(ml, monkeypatch, "algo-1", "algo-2")
    assert container.main() == 0
    assert not run.path.exists()


@pytest.mark.parametrize(
    "error",
    [
        RunFailed("Rank 1 failed.", fix="lower it"),
        ConfigError("No reward component applies to an episode.", fix="give one a weight"),
        Interrupted("Stopped on all ranks.", fix="go on"),
    ],
)
def test_what_a_job_did_before_it_ended_is_handed_out(ml, monkeypatch, error) -> None:
    run = a_run(ml)
    begin(ml, monkeypatch)
    ends(monkeypatch, error, run)
    assert container.main() == error.exit_code
    assert (ml / "output" / "failure").exists() is not isinstance(error, Interrupted)
    assert "step 1" in (ml / "output" / "data" / "logs" / "rank_0.log").read_text()
    assert (ml / "model" / "final_model" / "planner" / "w").exists()


def test_a_stop_before_the_ranks_began_hands_out_what_the_container_before_left(ml, monkeypatch) -> None:
    a_run(ml)
    begin(ml, monkeypatch)
    ends(monkeypatch, Interrupted("Stopped before the ranks were started.", fix="start it again"))
    assert container.main() == 130
    assert (ml / "model" / "final_model" / "planner" / "w").exists()


def test_a_disk_without_room_for_the_reason_keeps_no_result_back(ml, monkeypatch) -> None:
    begin(ml, monkeypatch)
    ends(monkeypatch, RunFailed("There is no room left.", fix="free some"), a_run(ml))
    monkeypatch.setattr(delivery, "FAILURE", Path("/dev/full"))
    assert container.main() == 1
    assert (ml / "model" / "final_model" / "planner" / "w").exists()


def test_damage_keeps_nothing_else_of_a_run_back(ml, monkeypatch) -> None:
    run = a_run(ml)
    for step in ("step_000001", "step_000002"):
        (run.checkpoints / step).mkdir(parents=True)
        (run.checkpoints / step / "trainer.json").write_text(step)
    (run.checkpoints / "latest").write_bytes(b"\xff\xfe")
    run.training_log.write_text("a line\n")
    (ml / "output" / "data" / "logs" / "rank_0.log").mkdir(parents=True)  # in the way
    begin(ml, monkeypatch)
    ends(monkeypatch, None)
    assert container.main() == 1
    assert "The job met an error that it does not know" in (ml / "output" / "failure").read_text()
    left = files(ml / "output" / "data")
    assert {"checkpoints/step_000002/trainer.json", "logs/rank_1.log", "training.log.gz"} <= set(left)
    assert "checkpoints/step_000001/trainer.json" not in left


def test_ranks_have_the_time_and_the_variables_that_a_container_gives(ml, monkeypatch) -> None:
    begin(ml, monkeypatch)
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("SAGEMAKER_TRAINING_DEBUG", "1")
    for name in container._VERBOSE:
        monkeypatch.setenv(name, "")
    starts = ends(monkeypatch, None)
    assert container.main() == 0
    ((_, options, environ),) = starts
    assert options["hosts"].stop_within == 100
    assert environ["HF_HOME"] == "/tmp/huggingface"
    assert {name: environ[name] for name in container._VERBOSE} == container._VERBOSE
    monkeypatch.delenv("HF_HOME")
