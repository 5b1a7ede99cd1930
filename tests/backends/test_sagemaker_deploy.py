"""What `maporl deploy` packs, refuses before anything costs, and says when something goes wrong."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import sagemaker_server as server
from backends.test_sagemaker_endpoints import KEY, PARTS, Endpoints, dry_run, job, product, refused, words
from botocore.exceptions import EndpointConnectionError
from moto.core.exceptions import JsonRESTError
from moto.sagemaker.models import SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from sagemaker_account import BUCKET, ROLE
from sagemaker_server import run_command
from served_run import finished_run

from maporl_cli.backends.sagemaker import delivery, endpoint_launch, endpoint_model
from maporl_cli.backends.sagemaker.endpoint_model import packed
from maporl_cli.core.channel import Channel
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.channels import note_channel
from maporl_cli.data.s3 import Bucket


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    return finished_run(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("archive") / "model.tar.gz"
    made.write_bytes(b"a model")
    return made


@pytest.fixture
def endpoints(account, archive, monkeypatch) -> Any:
    """The server, to which no model is sent that could answer."""
    monkeypatch.setattr(endpoint_launch, "packed", lambda _: nullcontext(archive))
    account.prices.listed.append(product("EUW1-Host:ml.g5.2xlarge", 1.5))
    return Endpoints(monkeypatch, lambda *_: "{}")


@pytest.fixture
def own(run, tmp_path) -> RunDir:
    """A run that a test may change."""
    shutil.copytree(run.path, tmp_path / "runs" / "run")
    return RunDir(tmp_path / "runs" / "run")


def test_a_final_model_of_links_is_packed_and_delivered_whole(own, tmp_path) -> None:
    first, second = sorted(own.final_model.iterdir())[:2]
    elsewhere = tmp_path / "elsewhere"
    first.rename(elsewhere)
    first.symlink_to(elsewhere)
    weights = second / "model.safetensors"
    weights.rename(tmp_path / "weights")
    weights.symlink_to(tmp_path / "weights")
    (second / "again").symlink_to(own.final_model)
    with packed(own) as made, tarfile.open(made) as tar:
        tar.extractall(tmp_path / "ml", filter="data")
    code = tmp_path / "code"
    code.mkdir()
    delivery.lay_out_model(tmp_path / "job", own.final_model, own.config, tmp_path / "none", code)
    for root in ("ml", "job"):
        there = tmp_path / root / "final_model"
        assert not any(file.is_symlink() for file in there.rglob("*"))
        assert (there / first.name / "model.safetensors").stat().st_size > 1000
        content = (there / second.name / "model.safetensors").read_bytes()
        assert content == (tmp_path / "weights").read_bytes()
        assert not (there / second.name / "again" / second.name / "again").exists(), "no circle is run round"


def test_what_a_killed_packing_left_is_removed_by_the_next(own) -> None:
    left = own.path.parent / ".new-999999999-0123abcd.run"
    left.mkdir()
    (left / "model.tar.gz").write_bytes(b"half")
    with packed(own) as made:
        assert not left.exists()
        (place,) = own.path.parent.glob(".new-*")
        assert made.is_relative_to(place), "so that clean knows it, if this process is killed"
    assert [one.name for one in own.path.parent.iterdir()] == ["run"]


def test_ctrl_c_while_packing_leaves_nothing(endpoints, account, own, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoint_launch, "packed", packed)
    monkeypatch.setattr(endpoint_model, "lay_out_model", interrupt)
    done = run_command(*words(own.path, "--yes"), code=130)
    assert "run was not made." in done.exception.message
    assert [one.name for one in own.path.parent.iterdir()] == ["run"]
    assert account.objects() == []


def test_a_run_whose_folder_cannot_be_written_is_packed_where_temporary_files_go(
    own, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(endpoint_model.os, "access", lambda place, _: place != own.path.parent)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with packed(own) as made:
        assert made.parent.parent == tmp_path
    monkeypatch.undo()
    monkeypatch.setattr(endpoint_model.os, "access", lambda *_: True)

    def refuse(code: int) -> None:
        def fail(*_: object) -> None:
            raise OSError(code, os.strerror(code), "somewhere")

        monkeypatch.setattr(endpoint_model, "lay_out_model", fail)

    refuse(errno.ENOSPC)
    with pytest.raises(RunFailed, match="no room left to pack the model") as full, packed(own):
        pass
    assert "--resume" not in full.value.fix
    refuse(errno.EROFS)
    with pytest.raises(MissingError, match="cannot be packed") as unwritable, packed(own):
        pass
    assert "TMPDIR" in unwritable.value.fix


def of_config(home: RunDir, monkeypatch: Any, **sections: dict[str, Any]) -> Config:
    """Changes what every run's config says."""
    config = home.load_config()
    update = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    changed = config.model_copy(update=update)
    monkeypatch.setattr(RunDir, "load_config", lambda _: changed)
    return changed


def test_a_jobs_team_that_cannot_fit_is_refused_by_the_size_of_its_archive(
    endpoints, account, run, monkeypatch
) -> None:
    of_config(run, monkeypatch, model={"name": "nobody/has-it-here", "finetune": "full"})
    job(account, run, "big")
    small = ("--instance", "ml.t2.medium")
    _, said = dry_run("big", *small)
    assert "memory unknown: The model nobody/has-it-here is not on this machine yet." in said
    assert "maporl model pull nobody/has-it-here makes it known" in said
    size = Bucket.size

    def weigh(bytes: int) -> None:
        monkeypatch.setattr(
            Bucket, "size", lambda self, key: bytes if key.endswith("model.tar.gz") else size(self, key)
        )

    weigh(3 * 10**9)
    told = refused(ConfigError, "big", *small)
    assert "The team does not fit on ml.t2.medium." in told
    assert "at least 3.5 GB" in told
    dry_run("big", "--instance", "ml.g5.12xlarge")
    weigh(85 * 10**9)  # on four GPUs, more than 20 GB each
    assert "at least 21.8 GB" in refused(ConfigError, "big", "--instance", "ml.g5.12xlarge")


def test_what_is_wrong_with_a_team_is_no_unknown_memory(endpoints, account, run, monkeypatch) -> None:
    config = run.load_config()
    of_config(run, monkeypatch, model={"name": "tiny"}, data={"train": "ours.jsonl"})
    job(account, run, "odd")
    assert config.data.train == "clinic"
    assert "Tiny policies know only the words" in refused(ConfigError, "odd")


PLUGIN = """
from maporl_cli.agents.policy import register_policy

register_policy("of_a_job", lambda agent: None)
"""


def test_policies_of_a_jobs_plugins_are_refused(endpoints, account, run, tmp_path, monkeypatch) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(PLUGIN)
    of_config(run, monkeypatch, run={"plugins": (str(plugin),)}, model={"name": "of_a_job"})
    job(account, run, "own")
    assert "it comes from a plug-in" in refused(ConfigError, "own")
    plugin.unlink()
    told = refused(MissingError, "own")
    assert "A plug-in of the job own is not here." in told
    assert str(plugin) in told


@pytest.mark.parametrize("base", ["here", "gone"])
def test_adapters_of_a_folder_are_refused(endpoints, run, tmp_path, monkeypatch, base: str) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("maporl_cli.worker.final_model.refuse_unfinished", lambda *_: None)
    of_config(run, monkeypatch, model={"name": str(tmp_path / base), "finetune": "lora"})
    assert f"The endpoint cannot read {tmp_path / base}" in refused(ConfigError, run.path)


def test_variables_and_secrets_of_the_container(endpoints, account, run, monkeypatch) -> None:
    variable = "sagemaker.environment.HF_ENDPOINT=https://hub.example"
    requests, said = dry_run(
        run.path, "--set", variable, "--set", "sagemaker.secrets.WANDB_API_KEY=wandb/key"
    )
    environment = requests["CreateModel"]["PrimaryContainer"]["Environment"]
    assert environment["HF_ENDPOINT"] == "https://hub.example"
    assert environment["SAGEMAKER_MODEL_SERVER_WORKERS"] == "1"
    assert "without sagemaker.secrets (WANDB_API_KEY)" in said
    own = "sagemaker.environment.SAGEMAKER_MODEL_SERVER_WORKERS"
    assert f"Where: {own}" in refused(ConfigError, run.path, "--set", f"{own}=4")
    token = ("--set", "sagemaker.secrets.HF_TOKEN=hub/token")
    dry_run(run.path, *token)
    of_config(run, monkeypatch, model={"name": "org/gated", "finetune": "lora"})
    job(account, run, "gated")
    assert "no HF_TOKEN to pull the base" in refused(ConfigError, "gated", *token)


def test_the_region_of_a_job_and_of_its_commands(endpoints, account, run, monkeypatch) -> None:
    job(account, run)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    done = run_command(*words("ward-1", "--set", "sagemaker.region=eu-west-1", "--yes"), code=0)
    assert "maporl endpoints test ward-1 --region eu-west-1 asks it" in done.stderr
    assert "maporl endpoints delete ward-1 --region eu-west-1 ends what it costs" in done.stderr
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert "--region" not in run_command(*words(run.path, "--yes"), code=0).stderr


def not_answering(monkeypatch: Any, *errors: Exception | None) -> None:
    """Looks at an endpoint, once it is made, that end so; None: it is there."""
    left, part = list(errors), endpoint_launch.part

    def look(session: Any, kind: str, name: str) -> Any:
        made = name in server.backend("sagemaker").endpoints
        error = left.pop(0) if left and made else None
        if error is None:
            return part(session, kind, name)
        with endpoint_launch.aws_errors("the endpoint"):
            raise error

    monkeypatch.setattr(endpoint_launch, "part", look)


LOST = EndpointConnectionError(endpoint_url="https://sagemaker")


def test_a_lost_connection_is_waited_for(endpoints, run, monkeypatch) -> None:
    paused = server.steps(monkeypatch, endpoint_launch, *[lambda: None] * 2)
    not_answering(monkeypatch, LOST, LOST)
    done = run_command(*words(run.path, "--yes"), code=0)
    assert len(paused) == 2
    assert done.stderr.count("AWS does not answer just now") == 1


def test_where_aws_cannot_be_asked_any_more_the_cost_is_told(endpoints, run, monkeypatch) -> None:
    monkeypatch.setattr(endpoint_launch, "_LOOKS", 1)
    expired = endpoint_launch.ClientError({"Error": {"Code": "ExpiredTokenException"}}, "DescribeEndpoint")
    not_answering(monkeypatch, expired)
    done = run_command(*words(run.path, "--yes"), code=4)
    assert "credentials have expired" in done.exception.message
    assert "run is still being made, and costs" in done.exception.message
    assert "maporl endpoints delete run deletes it" in done.exception.fix
    not_answering(monkeypatch, LOST)
    done = run_command(*words(run.path, "--yes", "--name", "other"), code=4)
    assert "other is still being made, and costs" in done.exception.message


def test_an_endpoint_that_is_deleted_meanwhile(endpoints, run, monkeypatch) -> None:
    part = endpoint_launch.part

    def look(session: Any, kind: str, name: str) -> Any:
        server.backend("sagemaker").endpoints.pop(name, None)
        return part(session, kind, name)

    monkeypatch.setattr(endpoint_launch, "part", look)
    done = run_command(*words(run.path, "--yes"), code=1)
    assert "The endpoint run was deleted." in done.exception.message
    assert "maporl endpoints delete run deletes what is left of it" in done.exception.fix


def test_an_endpoint_whose_first_answer_was_lost_is_waited_for(endpoints, run, monkeypatch) -> None:
    made = SageMakerResponse.create_endpoint

    def twice(response: Any) -> Any:
        made(response)
        return made(response)

    monkeypatch.setattr(SageMakerResponse, "create_endpoint", twice)
    assert run_command(*words(run.path, "--yes"), code=0).stdout == "run\n"


def test_an_endpoint_that_somebody_else_made_meanwhile(endpoints, run, monkeypatch) -> None:
    made = SageMakerResponse.create_endpoint

    def too_late(response: Any) -> Any:
        made(response)
        server.backend("sagemaker").endpoints["run"].endpoint_config_name = "theirs"
        return made(response)

    monkeypatch.setattr(SageMakerResponse, "create_endpoint", too_late)
    done = run_command(*words(run.path, "--yes"), code=4)
    assert "There is an Endpoint run already." in done.exception.message


def test_a_quota_is_told_of_what_it_limits(endpoints, run, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise JsonRESTError("ResourceLimitExceeded", "'Total number of models' is 1000")

    monkeypatch.setattr(SageMakerModelBackend, "create_model", refuse)
    done = run_command(*words(run.path, "--yes"), code=4)
    assert "The account's quota does not allow the model." in done.exception.message
    assert "for endpoint usage" not in done.exception.fix
    assert "delete some" in done.exception.fix


def test_gpus_too_old_for_the_image(endpoints, run) -> None:
    old = ("--instance", "ml.p2.xlarge")
    assert "Kepler" in refused(ConfigError, run.path, *old)
    dry_run(run.path, *old, "--set", "sagemaker.inference_image=mine:cuda11")
    assert "sagemaker.inference_image" in refused(
        ConfigError, run.path, "--set", "sagemaker.inference_image='not an image'"
    )


@pytest.mark.parametrize(("instance", "own_disk"), [("ml.m5d.xlarge", True), ("ml.m5.xlarge", False)])
def test_a_key_is_given_for_no_disk_of_the_machine(endpoints, run, instance: str, own_disk: bool) -> None:
    requests, _ = dry_run(run.path, "--instance", instance, "--set", f"sagemaker.kms_key={KEY}")
    assert ("KmsKeyId" not in requests["CreateEndpointConfig"]) == own_disk


def test_tags_of_the_config_do_not_hide_whose_endpoint_it_is(endpoints, run) -> None:
    requests, _ = dry_run(run.path, "--set", "sagemaker.tags={'maporl:run': theirs}")
    for part in PARTS:
        assert {"Key": "maporl:run", "Value": "run"} in requests[part]["Tags"]


def test_a_whole_model_is_measured_as_it_was_saved(endpoints, run, monkeypatch) -> None:
    of_config(run, monkeypatch, model={"name": "nobody/has-it-here", "finetune": "full"})
    _, said = dry_run(run.path)
    assert "GPU 0: " in said
    assert "memory unknown" not in said


def test_the_bucket_where_data_were_sent_is_taken(endpoints, run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = ["deploy", str(run.path), "--role", ROLE, "--dry-run"]
    assert "--bucket B" in run_command(*plain, code=4).exception.fix
    note_channel(Channel.train, f"s3://{BUCKET}/maporl/data/train.jsonl")
    assert f"model s3://{BUCKET}/maporl/endpoints/run/model.tar.gz" in run_command(*plain, code=0).stderr
