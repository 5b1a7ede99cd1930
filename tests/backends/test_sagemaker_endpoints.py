"""`maporl deploy` and `maporl endpoints` on SageMaker and S3 as moto plays them over HTTP."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sagemaker_server as server
from endpoint_server import Endpoints
from moto.core.exceptions import JsonRESTError
from moto.sagemaker.models import SageMakerModelBackend
from sagemaker_account import BUCKET, ROLE, Requests, product
from sagemaker_server import run_command
from served_run import body, finished_run, questions, row
from typer.testing import CliRunner

from maporl_cli.backends.sagemaker import endpoint_ask, endpoint_launch
from maporl_cli.backends.sagemaker.endpoint_model import packed
from maporl_cli.cli import confirm
from maporl_cli.cli.main import app
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import (
    ConfigError,
    DataError,
    Interrupted,
    MaporlError,
    MissingError,
    RunFailed,
    UsageError,
)
from maporl_cli.core.run_dir import RunDir
from maporl_cli.serving.handler import input_fn, model_fn, output_fn, predict_fn
from maporl_cli.serving.served_team import ServedTeam

KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PARTS = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    return finished_run(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="module")
def archive(run, tmp_path_factory) -> Path:
    with packed(run) as made:
        return shutil.copy(made, tmp_path_factory.mktemp("archive") / made.name)


@pytest.fixture(scope="module")
def team(archive, tmp_path_factory) -> ServedTeam:
    """A team that knows nothing but the archive."""
    place = tmp_path_factory.mktemp("model")
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    return model_fn(place)


@pytest.fixture
def endpoints(account, archive, team, monkeypatch) -> Any:
    """The server, whose endpoints answer with that team; it is packed once for all tests."""
    monkeypatch.setattr(endpoint_launch, "packed", lambda _: nullcontext(archive))
    account.prices.listed += [
        product("EUW1-Host:ml.g5.2xlarge", 1.5),
        product("EUW1-Train:ml.g5.2xlarge", 99.0),
    ]
    return Endpoints(
        monkeypatch,
        lambda content, kind: output_fn(predict_fn(input_fn(content, kind), team), "application/json"),
    )


def words(source: object, *more: str) -> list[str]:
    return ["deploy", str(source), "--role", ROLE, "--bucket", BUCKET, *more]


def deployed(source: object, *more: str) -> Any:
    return run_command(*words(source, "--yes", *more), code=0)


def refused(kind: type[MaporlError], source: object, *more: str) -> str:
    """What a deploy is refused with; nothing was made."""
    with Requests("CreateModel") as models, Requests("PutObject") as sent:
        done = CliRunner().invoke(app, words(source, "--yes", *more))
    assert isinstance(done.exception, kind), (done.exception, done.output)
    assert done.exception.fix
    assert not models
    assert not sent
    return done.exception.message


def dry_run(source: object, *more: str) -> tuple[dict[str, Any], str]:
    done = run_command(*words(source, "--dry-run", *more), code=0)
    assert done.exception is None, done.exception
    return json.loads(done.stdout), done.stderr


def job(account: Any, run: RunDir, name: str = "ward-1", **more: Any) -> Any:
    """A job that has ended, with what it leaves."""
    made = server.create_job(name, run="run", **more)
    config = to_yaml(run.load_config())
    account.s3.put_object(Bucket=BUCKET, Key=f"maporl/jobs/{name}/input/config/local.yaml", Body=config)
    account.s3.put_object(Bucket=BUCKET, Key=f"maporl/jobs/{name}/output/model.tar.gz", Body=b"model")
    return made


def test_what_is_sent_answers_by_the_handler_alone(endpoints, account, run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(endpoint_launch, "packed", packed)
    deployed(run.path)
    place = tmp_path / "ml"
    sent = io.BytesIO(account.read("maporl/endpoints/run/model.tar.gz"))
    with tarfile.open(fileobj=sent) as tar:
        tar.extractall(place, filter="data")
    own = questions(3)
    asked = input_fn(body([row(one) for one in own]), "application/json")
    told = json.loads(output_fn(predict_fn(asked, model_fn(place)), "application/json"))
    assert told == json.loads(output_fn(predict_fn(asked, model_fn(run.path)), "application/json"))
    assert [one["id"] for one in told] == [one.id for one in own]
    assert sorted(one.name for one in place.iterdir()) == ["code", "config.yaml", "final_model"]
    lines = (place / "code" / "requirements.txt").read_text().splitlines()
    assert lines[0].startswith("/opt/ml/model/code/maporl-")
    assert (place / "code" / Path(lines[0]).name).is_file()
    assert any(line.startswith("transformers==5.") for line in lines)
    assert not any(line.startswith("torch==") for line in lines)
    assert not list(run.path.parent.glob(".deploy-*"))


def test_plugins_and_evidence_travel(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("seen = True\n")
    Path("facts.jsonl").write_text(json.dumps({"id": "1", "text": "a fact"}) + "\n")
    run = finished_run(tmp_path, "run.plugins=[a.py]", "team.evidence=facts.jsonl")
    with packed(run) as archive, tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "ml", filter="data")
    shutil.rmtree(run.path)
    Path("a.py").unlink()
    Path("facts.jsonl").unlink()
    assert sorted(one.name for one in (tmp_path / "ml" / "files").iterdir()) == ["0-a.py", "1-facts.jsonl"]
    assert model_fn(tmp_path / "ml").most > 0


def test_a_dry_run_prints_the_requests_and_sends_nothing(endpoints, account, run) -> None:
    requests, said = dry_run(run.path, "--name", "ward")
    assert account.objects() == []
    assert tuple(requests) == PARTS
    container = requests["CreateModel"]["PrimaryContainer"]
    assert container["Image"].endswith("inference:2.6.0-transformers5.5.3-gpu-py312-cu124-ubuntu22.04")
    assert container["ModelDataUrl"] == f"s3://{BUCKET}/maporl/endpoints/ward/model.tar.gz"
    assert container["Environment"] == {
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_MODEL_SERVER_TIMEOUT": "3600",
    }
    (variant,) = requests["CreateEndpointConfig"]["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.g5.2xlarge", 1)
    assert "AsyncInferenceConfig" not in requests["CreateEndpointConfig"]
    tags = {tag["Key"]: tag["Value"] for tag in requests["CreateEndpoint"]["Tags"]}
    assert tags == {
        "maporl:run": "run",
        "maporl:instance": "ml.g5.2xlarge",
        "maporl:usd-per-hour": "1.5",
        "maporl:price-date": "2026-11-20",
        "maporl:words": "clinic",
    }
    assert "endpoint ward, run run, in eu-west-1" in said
    assert "on ml.g5.2xlarge (1 × GPU of 22 GiB), one worker" in said
    assert "price $1.5 an hour (list of 2026-11-20): $36.00 a day, $1,095.00 a month of 730 h" in said
    assert "GPU 0: " in said
    assert "up to 64 questions of 50,000 characters, 1 MiB, 60 s; one at a time" in said
    with ExitStack() as seen:
        sent = [seen.enter_context(Requests(part)) for part in PARTS]
        deployed(run.path, "--name", "ward")
    assert {part: one for part, (one,) in zip(PARTS, sent, strict=True)} == requests, "what is made was shown"


def test_a_dry_run_needs_no_credentials_where_the_role_is_spelled_out(endpoints, run, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "price unknown (There are no AWS credentials.)" in dry_run(run.path)[1]
    assert "There are no AWS credentials." in refused(MissingError, run.path)


def test_every_setting_reaches_the_requests(endpoints, account, run) -> None:
    sets = (
        *("--set", "sagemaker.subnets=[subnet-1]", "--set", "sagemaker.security_groups=[sg-1]"),
        *("--set", f"sagemaker.kms_key={KEY}", "--set", "sagemaker.tags={team: ward}"),
        *("--set", "sagemaker.prefix=teams/a", "--set", "sagemaker.image=of-training"),
        *("--set", "sagemaker.inference_image=mine:1", "--async"),
    )
    requests, said = dry_run(run.path, *sets, "--instance", "ml.m5.xlarge")
    assert requests["CreateModel"]["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert requests["CreateModel"]["PrimaryContainer"]["Image"] == "mine:1"
    config = requests["CreateEndpointConfig"]
    assert config["KmsKeyId"] == KEY
    folder = f"s3://{BUCKET}/teams/a/endpoints/run"
    assert config["AsyncInferenceConfig"] == {
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        "OutputConfig": {
            "S3OutputPath": f"{folder}/answers",
            "S3FailurePath": f"{folder}/failures",
            "KmsKeyId": KEY,
        },
    }
    assert all({"Key": "team", "Value": "ward"} in requests[part]["Tags"] for part in PARTS)
    assert "(no GPU, 16 GiB of RAM)" in said
    assert "3,600 s, by way of S3" in said
    assert "KmsKeyId" not in dry_run(run.path, *sets)[0]["CreateEndpointConfig"], "a g5 has a disk of its own"
    deployed(run.path, *sets)
    found = account.s3.head_object(Bucket=BUCKET, Key="teams/a/endpoints/run/model.tar.gz")
    assert found["SSEKMSKeyId"] == KEY


def test_it_waits_until_it_answers(endpoints, run, monkeypatch) -> None:
    def as_it_becomes(*statuses: str) -> None:
        endpoints.statuses[:] = statuses

    paused = server.steps(monkeypatch, endpoint_launch, *[lambda: None] * 2)
    made = SageMakerModelBackend.create_endpoint

    def create(*args: Any, **named: Any) -> Any:
        as_it_becomes("Creating", "Creating", "InService")
        return made(*args, **named)

    monkeypatch.setattr(SageMakerModelBackend, "create_endpoint", create)
    done = deployed(run.path, "--json")
    assert json.loads(done.stdout) == {
        "event": "done",
        "endpoint": "run",
        "status": "InService",
        "asynchronous": False,
        "model": f"s3://{BUCKET}/maporl/endpoints/run/model.tar.gz",
    }
    assert len(paused) == 2
    assert done.stderr.count("run: Creating") == 1
    assert "maporl endpoints delete run" in done.stderr


def test_one_that_fails_says_why_and_what_is_left(endpoints, run) -> None:
    endpoints.reason = "The container did not\npass the ping health check."
    made = SageMakerModelBackend.create_endpoint

    def create(*args: Any, **named: Any) -> Any:
        endpoints.statuses[:] = ["Failed"]
        return made(*args, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SageMakerModelBackend, "create_endpoint", create)
        done = run_command(*words(run.path, "--yes"), code=1)
    told = done.exception.message
    assert "The endpoint run is not there: its status is Failed." in told
    assert "The container did not pass the ping health check." in told
    assert "maporl endpoints delete run deletes it with its config and its model" in told


def test_ctrl_c_leaves_it_alone(endpoints, run, monkeypatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    server.steps(monkeypatch, endpoint_launch, interrupt)
    made = SageMakerModelBackend.create_endpoint

    def create(*args: Any, **named: Any) -> Any:
        endpoints.statuses[:] = ["Creating"]
        return made(*args, **named)

    monkeypatch.setattr(SageMakerModelBackend, "create_endpoint", create)
    done = run_command(*words(run.path, "--yes"), code=130)
    assert isinstance(done.exception, Interrupted)
    assert "maporl endpoints delete run" in done.exception.fix
    assert "run" in server.backend("sagemaker").endpoints


def test_nobody_is_asked_where_nobody_sits_and_a_no_makes_nothing(
    endpoints, account, run, monkeypatch
) -> None:
    done = run_command(*words(run.path), code=2)
    assert "--yes" in done.exception.fix
    terminal = SimpleNamespace(isatty=lambda: True, readline=lambda: "n\n")
    monkeypatch.setattr(confirm, "sys", SimpleNamespace(stdin=terminal, stderr=sys.stderr))
    done = run_command(*words(run.path), code=130)
    assert "run was not made." in done.exception.message
    assert account.objects() == []


def test_what_it_may_cost_a_day_bounds_it(endpoints, account, run) -> None:
    told = refused(ConfigError, run.path, "--max-cost", "35.99")
    assert "costs $36.00 a day, which is more than $35.99" in told
    deployed(run.path, "--max-cost", "36")
    account.prices.listed.clear()
    assert "is not known" in refused(MissingError, run.path, "--name", "other", "--max-cost", "1000")


def test_names_that_are_taken(endpoints, run) -> None:
    deployed(run.path)
    told = refused(MissingError, run.path)
    assert "There is an endpoint run already." in told
    assert "its status is InService" in told
    client = server.root("sagemaker")
    client.delete_endpoint(EndpointName="run")
    assert "There is a config run already." in refused(MissingError, run.path)
    client.delete_endpoint_config(EndpointConfigName="run")
    told = refused(MissingError, run.path)
    assert "There is a model run already." in told
    assert "maporl endpoints delete run" in told
    assert "No endpoint can be called 'a b'" in refused(UsageError, run.path, "--name", "a b")


def test_a_team_that_does_not_fit_is_refused_before_anything_is_made(endpoints, run, monkeypatch) -> None:
    assert "did you mean ml.g5.2xlarge?" in refused(MissingError, run.path, "--instance", "ml.g5.2xlarg")
    config = run.load_config()
    seats = [seat.model_copy(update={"max_new_tokens": 256_000_000}) for seat in config.team.agents]
    changed = config.model_copy(update={"team": config.team.model_copy(update={"agents": tuple(seats)})})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RunDir, "load_config", lambda _: changed)
        told = refused(ConfigError, run.path)
    assert "The team does not fit on ml.g5.2xlarge." in told
    assert "with more memory" in told
    halves = config.model_copy(update={"model": config.model.model_copy(update={"dtype": "fp16"})})
    monkeypatch.setattr(RunDir, "load_config", lambda _: halves)
    assert "which has no GPU" in refused(ConfigError, run.path, "--instance", "ml.m5.xlarge")


def test_runs_that_cannot_be_served(endpoints, run, tmp_path) -> None:
    unfinished = tmp_path / "runs" / "half"
    unfinished.mkdir(parents=True)
    shutil.copy(run.config, unfinished / "config.yaml")
    assert "The run has no final model." in refused(MissingError, unfinished)
    assert "There is no run runs/halb" in refused(ConfigError, "runs/halb")
    assert "There is no job nobody." in refused(MissingError, "nobody")
    assert "a team is served as it was trained" in refused(UsageError, run.path, "--set", "train.gamma=1")
    done = CliRunner().invoke(app, ["deploy", str(run.path), "--bucket", BUCKET, "--yes"])
    assert isinstance(done.exception, MissingError)
    assert "--role ARN" in done.exception.fix
    done = CliRunner().invoke(app, ["deploy", str(run.path), "--role", ROLE, "--yes"])
    assert isinstance(done.exception, MissingError)
    assert "--bucket B" in done.exception.fix
    assert "There is no such role." in refused(MissingError, run.path, "--role", f"{ROLE}-2")


def test_a_job_is_deployed_as_it_lies_there(endpoints, account, run) -> None:
    job(account, run)
    done = run_command("deploy", "ward-1", "--role", ROLE, "--yes", "--async", code=0)
    assert done.stdout == "ward-1\n"
    model = server.root("sagemaker").describe_model(ModelName="ward-1")
    assert (
        model["PrimaryContainer"]["ModelDataUrl"] == f"s3://{BUCKET}/maporl/jobs/ward-1/output/model.tar.gz"
    )
    assert not any("endpoints" in key for key in account.objects())


def test_jobs_that_cannot_be_deployed(endpoints, account, run) -> None:
    going = job(account, run, "going")
    server.set_state(going, "InProgress", "Training")
    assert "The job going has not ended." in refused(MissingError, "going")
    server.set_state(going, "Stopped", "MaxRuntimeExceeded")
    assert "The job going left no final model." in refused(MissingError, "going")
    job(account, run, "emptied")
    account.s3.delete_object(Bucket=BUCKET, Key="maporl/jobs/emptied/output/model.tar.gz")
    assert "The job emptied left no final model." in refused(MissingError, "emptied")
    server.create_job("theirs", run=None)
    assert "was not launched by maporl" in refused(MissingError, "theirs")


def test_ctrl_c_amid_the_requests_claims_nothing(endpoints, run, monkeypatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    make = endpoint_launch.aws_client

    def client(*words: Any) -> Any:
        made = make(*words)
        made.meta.events.register("needs-retry.sagemaker.CreateEndpoint", interrupt)
        return made

    monkeypatch.setattr(endpoint_launch, "aws_client", client)
    done = run_command(*words(run.path, "--yes"), code=130)
    assert "may be made in part, or wholly, and cost" in done.exception.message
    assert "run" in server.backend("sagemaker").endpoints, "it had arrived"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("ResourceLimitExceeded", "The account's quota does not allow the endpoint."),
        ("ResourceInUse", "There is an Endpoint run already."),
        ("ValidationException", "SageMaker refuses the Endpoint."),
        ("AccessDeniedException", "AWS does not allow it."),
    ],
)
def test_what_sagemaker_answers(endpoints, run, monkeypatch, code: str, says: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise JsonRESTError(code, "the account-level service limit is 0 Instances")

    monkeypatch.setattr(SageMakerModelBackend, "create_endpoint", refuse)
    done = run_command(*words(run.path, "--yes"), code=4)
    assert says in done.exception.message
    assert "What there is of run: the config and the model." in done.stderr
    deleted = run_command("endpoints", "delete", "run", "--yes", code=0).stdout.splitlines()
    assert deleted == ["the config run is deleted", "the model run is deleted"]


def test_ours_are_listed_with_what_they_cost(endpoints, run) -> None:
    assert "no endpoint" in run_command("endpoints", "ls", code=0).stderr
    deployed(run.path, "--name", "first")
    deployed(run.path, "--name", "second")
    held = server.backend("sagemaker").endpoints
    held["first"].creation_time = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
    held["second"].tags = [tag for tag in held["second"].tags if tag["Key"] != "maporl:usd-per-hour"]
    client = server.root("sagemaker")
    client.create_endpoint(EndpointName="theirs", EndpointConfigName="first", Tags=[])
    rows = [line.split("  ") for line in run_command("endpoints", "ls", code=0).stdout.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[0] == ["ENDPOINT", "STATUS", "INSTANCE", "SINCE", "COST", "RUN"]
    assert [row[0] for row in cells[1:]] == ["second", "first"]
    assert cells[1][4] == "unknown"
    assert cells[2][1:3] == ["InService", "ml.g5.2xlarge"]
    assert cells[2][4:] == ["at most $3.00 so far", "run"]
    found = json.loads(run_command("endpoints", "ls", "--json", code=0).stdout)["endpoints"]
    assert [one["usd_per_hour"] for one in found] == [None, 1.5]


def test_an_endpoint_is_tried(endpoints, run, tmp_path) -> None:
    deployed(run.path)
    shown = run_command("endpoints", "test", "run", code=0).stdout
    assert shown.startswith("report: ")
    assert "\nanswer: " in shown
    assert "\nrisk: " in shown
    file = tmp_path / "rows.json"
    file.write_bytes(body([row(one) for one in questions(2)]))
    told = json.loads(run_command("endpoints", "test", "run", str(file), "--json", code=0).stdout)
    assert [one["id"] for one in told["answers"]] == [one.id for one in questions(2)]
    assert endpoints.asked[-1] == file.read_bytes()
    assert run_command("endpoints", "test", "run", str(file), code=0).stdout.count("id: ") == 2


def test_an_asynchronous_one_is_tried_by_way_of_s3(endpoints, account, run, tmp_path, monkeypatch) -> None:
    deployed(run.path, "--async")
    told = json.loads(run_command("endpoints", "test", "run", "--json", code=0).stdout)
    assert told["answers"][0]["risk"]["level"] in ("low", "moderate", "high")
    below = [key for key in account.objects() if key.startswith("maporl/endpoints/run/")]
    assert sorted({key.split("/")[3] for key in below}) == ["answers", "model.tar.gz", "requests"]
    file = tmp_path / "row.json"
    file.write_bytes(body(row(questions(1)[0], question="task treatment aspirin?")))
    done = run_command("endpoints", "test", "run", str(file), code=1)
    assert "word 3 of its question" in done.exception.message

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoint_ask, "_PAUSE", 0)
    monkeypatch.setattr(endpoint_ask.Bucket, "size", lambda *_: interrupt())
    monkeypatch.setattr(endpoint_ask.Bucket, "upload", lambda *_: True)
    done = run_command("endpoints", "test", "run", code=130)
    assert "maporl/endpoints/run/answers" in done.exception.fix


def test_what_cannot_be_asked_or_answered(endpoints, run, tmp_path) -> None:
    deployed(run.path)
    file = tmp_path / "row.json"
    file.write_text('{"id": "bed-7", "question": "Which drug?", "options": ["adrenaline"]}')
    done = run_command("endpoints", "test", "run", str(file), code=3)
    assert isinstance(done.exception, DataError)
    assert endpoints.asked == []
    done = run_command("endpoints", "test", "run", str(tmp_path / "gone.json"), code=3)
    assert "cannot be read" in done.exception.message
    file.write_bytes(body(row(questions(1)[0], question="task treatment aspirin?")))
    done = run_command("endpoints", "test", "run", str(file), code=1)
    assert isinstance(done.exception, RunFailed)
    assert "word 3 of its question" in done.exception.message
    assert "aspirin" not in done.exception.message
    assert len(endpoints.asked) == 1, "nothing is asked twice"
    endpoints.answer = lambda *_: '{"something": "else"}'
    assert "something else" in run_command("endpoints", "test", "run", code=1).exception.message
    endpoints.answer = lambda *_: "<html>"
    assert "no JSON" in run_command("endpoints", "test", "run", code=1).exception.message
    endpoints.statuses[:] = ["Updating"]
    assert "its status is Updating" in run_command("endpoints", "test", "run", code=4).exception.message


def test_a_team_that_reads_english_is_asked_in_english(endpoints, run) -> None:
    deployed(run.path)
    held = server.backend("sagemaker").endpoints["run"]
    held.tags = [tag for tag in held.tags if tag["Key"] != "maporl:words"]
    endpoints.answer = lambda *_: json.dumps(
        {"id": "sample", "answer": "A", "report": "\x1b[2J", "risk": {"level": "low", "reasons": []}}
        | {"confidence": None, "disclaimer": "", "evidence": []}
    )
    shown = run_command("endpoints", "test", "run", code=0).stdout
    assert b"anaphylaxis" in endpoints.asked[0]
    assert "answer: A, intramuscular adrenaline" in shown
    assert "\x1b" not in shown
    held.tags.append({"Key": "maporl:words", "Value": "ours-alone"})
    assert "endpoints test run FILE" in run_command("endpoints", "test", "run", code=3).exception.message


def test_all_of_an_endpoint_is_deleted(endpoints, run, monkeypatch) -> None:
    deployed(run.path)
    done = run_command("endpoints", "delete", "run", code=2)
    assert "Delete the endpoint and the config and the model run?" in done.exception.message
    client = server.root("sagemaker")
    client.delete_endpoint_config(EndpointConfigName="run")
    done = run_command("endpoints", "delete", "run", "--yes", code=0)
    assert done.stdout.splitlines() == ["the endpoint run is deleted", "the model run is deleted"]
    assert f"s3://{BUCKET}/maporl/endpoints/run/model.tar.gz" in done.stderr
    deployed(run.path)
    done = run_command("endpoints", "delete", "rum", "--yes", code=4)
    assert "There is no endpoint rum." in done.exception.message
    assert "did you mean run?" in done.exception.fix
    client.create_endpoint(EndpointName="theirs", EndpointConfigName="run", Tags=[])
    done = run_command("endpoints", "delete", "theirs", "--yes", code=4)
    assert "was not made by maporl" in done.exception.message
    assert "was not made by maporl" in run_command("endpoints", "test", "theirs", code=4).exception.message

    def busy(*_: object, **__: object) -> None:
        raise JsonRESTError("ValidationException", "Cannot delete an endpoint that is being made")

    monkeypatch.setattr(SageMakerModelBackend, "delete_endpoint", busy)
    done = run_command("endpoints", "delete", "run", "--yes", code=1)
    assert "Cannot delete an endpoint that is being made" in done.exception.message
    assert "run" in server.backend("sagemaker").endpoint_configs, "what comes after it is left alone"
