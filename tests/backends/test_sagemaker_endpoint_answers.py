"""What endpoints answer, and what becomes of it: other shapes, denials, interruptions, others who delete."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sagemaker_server as server
from endpoint_server import Endpoints
from moto.core.exceptions import JsonRESTError
from moto.sagemaker.models import SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse
from sagemaker_account import BUCKET
from sagemaker_server import run_command

from maporl_cli.backends.sagemaker import endpoint_ask
from maporl_cli.backends.sagemaker import endpoints as endpoints_module
from maporl_cli.core.errors import Interrupted, MissingError
from maporl_cli.data.s3 import Bucket

TAGS = {"maporl:run": "ward", "maporl:instance": "ml.g5.2xlarge", "maporl:usd-per-hour": "1.5"}
ANSWER: dict[str, Any] = {
    "id": "sample",
    "answer": "A",
    "report": "The answer is A [e1]. Not medical advice.",
    "confidence": 0.75,
    "risk": {"level": "low", "reasons": ["it names no guideline"]},
    "disclaimer": "Not medical advice.",
    "evidence": ["e1"],
}


@pytest.fixture
def endpoints(account, monkeypatch) -> Endpoints:
    """The server, whose endpoints answer to the sample."""
    return Endpoints(monkeypatch, lambda *_: json.dumps(ANSWER))


def make(name: str = "ward", *, asynchronous: bool = False, **tags: str) -> Any:
    """An endpoint, its config and its model, tagged so or as maporl tags its own; as the server holds it."""
    client: Any = server.root("sagemaker")
    labels = [{"Key": key, "Value": value} for key, value in (tags or TAGS).items()]
    model = {"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"}
    role = "arn:aws:iam::123456789012:role/jobs"
    client.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=model, Tags=labels)
    variant = {"VariantName": "team", "ModelName": name, "InitialInstanceCount": 1}
    places = {kind: f"s3://{BUCKET}/{name}/{kind}" for kind in ("answers", "failures")}
    output = {"S3OutputPath": places["answers"], "S3FailurePath": places["failures"]}
    how = {"AsyncInferenceConfig": {"OutputConfig": output}} if asynchronous else {}
    client.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant | {"InstanceType": "ml.g5.2xlarge"}],
        Tags=labels,
        **how,
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=labels)
    return server.backend("sagemaker").endpoints[name]


def tried(*words: str, code: int = 0) -> Any:
    return run_command("endpoints", "test", "ward", *words, code=code)


def test_nothing_is_asked_twice(endpoints, monkeypatch) -> None:
    make()
    came: list[object] = []

    def busy(response: Any) -> Any:
        came.append(response)
        return 503, {"status": 503, "x-amzn-ErrorType": "ServiceUnavailable"}, json.dumps({"Message": ""})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SageMakerRuntimeResponse, "invoke_endpoint", busy)
        assert "ServiceUnavailable" in tried(code=1).exception.message
    assert len(came) == 1
    endpoints.answer = lambda *_: time.sleep(1) or json.dumps(ANSWER)
    monkeypatch.setattr(endpoint_ask, "AT_ONCE", -9.7)
    assert "AWS does not answer." in tried(code=4).exception.message
    assert len(endpoints.asked) == 1


def test_it_is_waited_for_until_sagemaker_gives_it_up(endpoints, monkeypatch) -> None:
    make()
    waits: list[float] = []
    config = endpoint_ask.BotoConfig
    monkeypatch.setattr(
        endpoint_ask, "BotoConfig", lambda **told: waits.append(told["read_timeout"]) or config(**told)
    )
    tried()
    (seconds,) = waits
    assert 60 < seconds < 120


def test_all_of_an_answer_is_shown(endpoints) -> None:
    make()
    odd = {"evidence": ["e1", "\x1b[2J"], "disclaimer": "\x1b]0;"}
    endpoints.answer = lambda *_: json.dumps(ANSWER | odd)
    assert tried().stdout.splitlines() == [
        "report: The answer is A [e1]. Not medical advice.",
        "answer: A, intramuscular adrenaline",
        "risk: low; it names no guideline",
        "confidence: 0.75, as the report states it",
        r"evidence: e1, \x1b[2J",
        r"disclaimer: \x1b]0;",
    ]
    endpoints.answer = lambda *_: json.dumps(ANSWER | {"evidence": [], "confidence": None, "answer": None})
    assert tried().stdout.splitlines()[1:5:3] == ["answer: none that can be read", "evidence: none cited"]
    assert "confidence: not stated" in tried().stdout


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ANSWER | {"risk": "low"}, "risk: "),
        (ANSWER | {"risk": None}, "risk: "),
        (ANSWER | {"risk": {"level": "low"}}, "risk.reasons: Field required"),
        (ANSWER | {"risk": {"level": "none", "reasons": []}}, "risk.level: "),
        (ANSWER | {"risk": {"level": "low", "reasons": [1]}}, "risk.reasons.0: "),
        (ANSWER | {"answer": ["A"]}, "answer: "),
        (ANSWER | {"report": None}, "report: "),
        (ANSWER | {"confidence": 2}, "confidence: "),
        (ANSWER | {"evidence": "e1"}, "evidence: "),
        (ANSWER | {"id": "other"}, "answer 1 has another id than question 1"),
        (ANSWER | {"id": True}, "id."),
        (ANSWER | {"\x1b[2J": 1}, r"\x1b[2J: Extra inputs are not permitted"),
        *(
            ({name: value for name, value in ANSWER.items() if name != lacking}, f"{lacking}: Field required")
            for lacking in ANSWER
        ),
        ([ANSWER], "Input should be an object"),
        (None, "Input should be an object"),
    ],
)
def test_an_answer_of_another_shape_is_refused_before_any_of_it_is_shown(endpoints, answer, says) -> None:
    make()
    endpoints.answer = lambda *_: json.dumps(answer)
    done = tried(code=1)
    assert "answered something else than was asked" in done.exception.message
    assert says in done.exception.why
    assert not done.stdout
    assert "adrenaline" not in done.exception.message


@pytest.mark.parametrize("answer", ["[" * 100_000, "<html>", "", '{"id": "sample"', "\x00"])
def test_an_answer_that_is_no_json_is_refused(endpoints, answer) -> None:
    make()
    endpoints.answer = lambda *_: answer
    assert tried(code=1).exception.why == "it is no JSON that can be read"


def test_each_question_of_a_file_has_its_answer(endpoints, tmp_path) -> None:
    make()
    file = tmp_path / "rows.json"
    names = ["\x1b[2J", 2]
    file.write_text(json.dumps([{"id": name, "question": "Which drug?"} for name in names]))
    replies = [ANSWER | {"id": name} for name in names]
    endpoints.answer = lambda *_: json.dumps(replies)
    shown = tried(str(file)).stdout
    assert [line for line in shown.splitlines() if line.startswith("id: ")] == [r"id: \x1b[2J", "id: 2"]
    for wrong, says in (
        (replies[:1], "1 answers came to 2 questions"),
        ([*replies, ANSWER], "3 answers came to 2 questions"),
        (replies[::-1], "answer 1 has another id"),
        ([replies[0], ANSWER | {"id": "2"}], "answer 2 has another id"),
        (ANSWER, "should be a valid array"),
    ):
        endpoints.answer = lambda *_, wrong=wrong: json.dumps(wrong)
        done = tried(str(file), code=1)
        assert says in done.exception.why
        assert not done.stdout


def test_a_bad_question_is_refused_with_its_file(endpoints, tmp_path) -> None:
    file = tmp_path / "row.json"
    file.write_text('{"id": "bed-7", "question": "Which drug?", "options": ["adrenaline"]}')
    assert tried(str(file), code=3).exception.where == f"{file}, id bed-7"
    file.write_text("[]")
    assert tried(str(file), code=3).exception.where == str(file)
    assert not endpoints.asked


def tags_end_in(monkeypatch: Any, name: str, code: str) -> None:
    """Lets an endpoint's tags, and those of what belongs to it, not be had."""
    listed = SageMakerResponse.list_tags

    def list_tags(response: Any) -> Any:
        if response._get_param("ResourceArn").endswith(f"/{name}"):
            raise JsonRESTError(code, "no tags")
        return listed(response)

    monkeypatch.setattr(SageMakerResponse, "list_tags", list_tags)


@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFound"])
def test_one_that_is_deleted_while_they_are_listed_is_left_out(endpoints, monkeypatch, code: str) -> None:
    make()
    make("gone")
    tags_end_in(monkeypatch, "gone", code)
    done = run_command("endpoints", "ls", code=0)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ENDPOINT", "ward"]
    assert not done.stderr
    assert "did you mean ward?" in run_command("endpoints", "test", "wart", code=4).exception.fix
    told = run_command("endpoints", "test", "gone", code=4).exception.message
    assert "There is no endpoint gone." in told
    told = run_command("endpoints", "delete", "gone", "--yes", code=4).exception.message
    assert "There is no endpoint gone." in told


def test_one_whose_tags_may_not_be_read_is_named(endpoints, monkeypatch) -> None:
    make()
    make("theirs")
    tags_end_in(monkeypatch, "theirs", "AccessDeniedException")
    done = run_command("endpoints", "ls", "--json", code=0)
    assert [one["endpoint"] for one in json.loads(done.stdout)["endpoints"]] == ["ward"]
    assert "sagemaker:ListTags): theirs\n" in done.stderr
    server.root("sagemaker").delete_endpoint(EndpointName="ward")
    assert "There is no endpoint" not in run_command("endpoints", "ls", code=0).stderr
    done = run_command("endpoints", "test", "theirs", code=4)
    assert isinstance(done.exception, MissingError)
    assert "sagemaker:ListTags" in done.exception.fix


def test_tags_that_cannot_be_had_for_another_reason_end_the_list(endpoints, monkeypatch) -> None:
    make()
    tags_end_in(monkeypatch, "ward", "SomethingElse")
    assert "SomethingElse" in run_command("endpoints", "ls", code=1).exception.message


def test_the_region_is_that_of_deploy_and_named(endpoints, monkeypatch) -> None:
    make()
    assert run_command("endpoints", "ls", code=0).stdout
    monkeypatch.setenv("MAPORL_SAGEMAKER__REGION", "us-west-2")
    assert "maporl's in us-west-2." in run_command("endpoints", "ls", code=0).stderr
    assert tried(code=4).exception.where == "SageMaker in us-west-2"
    assert run_command("endpoints", "delete", "ward", code=4).exception.where == "SageMaker in us-west-2"
    assert run_command("endpoints", "ls", "--region", "eu-west-1", code=0).stdout


@pytest.mark.parametrize("command", [["endpoints", "test"], ["endpoints", "delete"], ["jobs", "show"]])
@pytest.mark.parametrize("name", ["a" + "-" * 70 + "b", "a" * 64, "-a", "a-", ""])
def test_no_name_is_longer_than_sagemaker_takes(account, command: list[str], name: str) -> None:
    told = run_command(*command, "--", name, code=4 if command[0] == "jobs" else 2).exception.message
    assert "at most 63" in told
    longest = "a" + "-" * 61 + "b"
    told = run_command(*command, longest, code=4).exception.message
    assert f"There is no {'job' if command[0] == 'jobs' else 'endpoint'} {longest}." in told


def test_what_a_tag_says_does_nothing_to_a_terminal(endpoints) -> None:
    made = make()
    keys = ("maporl:run", "maporl:instance", "maporl:words")
    made.tags = [{"Key": key, "Value": "\x1b[2J"} for key in keys]
    shown = run_command("endpoints", "ls", code=0).stdout
    assert shown.count(r"\x1b[2J") == 2
    assert "\x1b" not in shown
    assert r"benchmark \x1b[2J" in tried(code=3).exception.message


def test_what_an_endpoint_says_went_wrong_does_nothing_to_a_terminal(endpoints, monkeypatch) -> None:
    make(asynchronous=True)
    monkeypatch.setattr(endpoint_ask, "_PAUSE", 0)

    def fail(*_: object) -> str:
        raise ValueError("no\n\x1b[2J words" + "." * 2000)

    endpoints.answer = fail
    told = tried(code=1).exception
    assert r"no \x1b[2J words." in told.why
    assert "\x1b" not in told.message
    assert len(told.why) == 1000


def test_a_question_by_way_of_s3_is_encrypted_as_the_answer_is(endpoints, account) -> None:
    made = make(asynchronous=True)
    config = server.backend("sagemaker").endpoint_configs[made.endpoint_name]
    config.async_inference_config["OutputConfig"]["KmsKeyId"] = "key"
    tried()
    (key,) = [key for key in account.objects() if "/requests/" in key]
    assert account.s3.head_object(Bucket=BUCKET, Key=key)["SSEKMSKeyId"] == "key"


def test_an_answer_that_may_not_be_read_is_not_lost(endpoints, monkeypatch) -> None:
    make(asynchronous=True)

    def denied(bucket: Bucket, key: str) -> int:
        raise MissingError("AWS does not allow it.", where=bucket.uri(key), why="403", fix="--bucket")

    monkeypatch.setattr(Bucket, "size", denied)
    told = tried(code=1).exception
    assert "The question is asked, and its answer will come" in told.what
    assert told.why == "AWS does not allow it. 403"
    assert f"look for it at s3://{BUCKET}/ward/answers/" in told.fix
    assert "--bucket" not in told.fix


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(endpoints, monkeypatch) -> None:
    make(asynchronous=True)
    monkeypatch.setattr(Bucket, "size", lambda *_: None)
    monkeypatch.setattr(endpoint_ask, "ANSWERING", 1)
    monkeypatch.setattr(endpoint_ask, "_PAUSE", 0.1)
    told = tried(code=1).exception
    assert "The question is asked, and no answer came within 1 s." in told.what
    assert f"look for it at s3://{BUCKET}/ward/answers/" in told.fix
    assert f"s3://{BUCKET}/ward/failures/" in told.fix


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def before_call(monkeypatch: Any, module: Any, operation: str, do: Any) -> None:
    """Does something as a client of that module is about to send such a request."""
    make_client = module.aws_client

    def client(*words: Any) -> Any:
        made = make_client(*words)
        made.meta.events.register(f"before-call.sagemaker.{operation}", do)
        return made

    monkeypatch.setattr(module, "aws_client", client)


def test_ctrl_c_while_it_answers_says_what_becomes_of_the_question(endpoints, monkeypatch) -> None:
    make()
    client = endpoint_ask.Session.client

    def interrupted(session: Any, name: str, **named: Any) -> Any:
        made = client(session, name, **named)
        if name == "sagemaker-runtime":
            made.meta.events.register("before-send.sagemaker-runtime", interrupt)
        return made

    monkeypatch.setattr(endpoint_ask.Session, "client", interrupted)
    told = tried(code=130).exception
    assert isinstance(told, Interrupted)
    assert "nobody waits for its answer" in told.what
    assert "is answered all the same" in told.why


def test_ctrl_c_amid_a_deletion_says_what_may_be_left(endpoints, monkeypatch) -> None:
    make()
    before_call(monkeypatch, endpoints_module, "DeleteEndpointConfig", interrupt)
    done = run_command("endpoints", "delete", "ward", "--yes", code=130)
    assert done.stdout == "the endpoint ward is deleted\n"
    assert done.exception.what == "The config and the model ward may be there still."
    assert not done.exception.why
    make("other")
    before_call(monkeypatch, endpoints_module, "DeleteEndpoint", interrupt)
    done = run_command("endpoints", "delete", "other", "--yes", code=130)
    assert "costs until it is deleted" in done.exception.why


def test_a_denied_deletion_says_what_is_left(endpoints, monkeypatch) -> None:
    make()

    def deny(*_: object, **__: object) -> None:
        raise JsonRESTError("AccessDeniedException", "no sagemaker:DeleteEndpointConfig")

    monkeypatch.setattr(SageMakerModelBackend, "delete_endpoint_config", deny)
    done = run_command("endpoints", "delete", "ward", "--yes", code=4)
    assert "What is there still of ward: the config and the model." in done.stderr
    assert "ward" in server.backend("sagemaker")._models


def test_what_somebody_else_made_under_that_name_stays(endpoints) -> None:
    make()
    held = server.backend("sagemaker")
    held.endpoint_configs["ward"].tags = []
    held._models["ward"].tags = []
    done = run_command("endpoints", "delete", "ward", "--yes", code=0)
    assert done.stdout.splitlines() == ["the endpoint ward is deleted"]
    assert "ward" in held.endpoint_configs
    assert "ward" in held._models
    assert "There is no endpoint ward." in run_command("endpoints", "delete", "ward", code=4).exception.what


def test_what_was_gone_already_is_not_said_to_be_deleted(endpoints, monkeypatch) -> None:
    make()

    def somebody_is_faster(*_: object, **__: object) -> None:
        server.backend("sagemaker").endpoint_configs.pop("ward", None)

    before_call(monkeypatch, endpoints_module, "DeleteEndpointConfig", somebody_is_faster)
    assert run_command("endpoints", "delete", "ward", "--yes", code=0).stdout.splitlines() == [
        "the endpoint ward is deleted",
        "the config ward was gone already",
        "the model ward is deleted",
    ]


def test_one_that_failed_costs_nothing_since() -> None:
    began = datetime.now(UTC) - timedelta(hours=10)
    told = {"CreationTime": began, "LastModifiedTime": began + timedelta(hours=2)}
    failed = endpoints_module.Endpoint(told | {"EndpointStatus": "Failed"}, TAGS)
    going = endpoints_module.Endpoint(told | {"EndpointStatus": "InService"}, TAGS)
    assert failed.usd == pytest.approx(3.0)
    assert going.usd == pytest.approx(15.0, rel=0.01)
