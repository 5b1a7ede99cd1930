"""The handler inside the model server of SageMaker's inference images.

`make test-endpoint` runs these in an environment that has it (and Java is there); elsewhere they are skipped.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

pytest.importorskip("mms", reason="needs multi-model-server: make test-endpoint")
if shutil.which("java") is None:
    pytest.skip("needs Java (17 was tried)", allow_module_level=True)

from inference_container import ModelServer
from served_run import body, finished_run, questions, row

from maporl_cli.backends.sagemaker.bundle import write_code
from maporl_cli.serving.handler import input_fn, model_fn, predict_fn

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory) -> Iterator[ModelServer]:
    home = tmp_path_factory.mktemp("endpoint")
    run = finished_run(home / "ml" / "checkpoints")
    code = home / "ml" / "input" / "data" / "code"
    code.mkdir(parents=True)
    write_code(code, run.load_config())
    found = ModelServer(home)
    try:
        found.until_healthy()
        yield found
    finally:
        found.kill()


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> list:
    """What the same team answers here."""
    team = model_fn(finished_run(tmp_path_factory.mktemp("here")).path)
    return predict_fn(input_fn(body([row(one) for one in questions(20)]), "application/json"), team)


def post(endpoint: ModelServer, value: object, kind: str = "application/json") -> httpx.Response:
    headers = {"Content-Type": kind}
    return httpx.post(f"{endpoint.address}/invocations", content=body(value), headers=headers, timeout=120)


def test_it_runs_the_wheel_that_came_with_the_model(endpoint):
    assert re.search(r"Processing /opt/ml/model/code/maporl-\S+\.whl", endpoint.printed)
    assert "Successfully installed maporl" in endpoint.printed


def test_it_answers_as_the_team_here(endpoint, expected):
    own = questions(20)
    assert post(endpoint, row(own[0])).json() == expected[0]
    together = post(endpoint, [row(one) for one in own])
    assert together.json() == expected
    assert together.headers["content-type"] == "application/json"
    with ThreadPoolExecutor(20) as clients:
        rows = [row(one, id=n) for n, one in enumerate(own)]
        found = [reply.json() for reply in clients.map(lambda one: post(endpoint, one), rows)]
    assert found == [{**answer, "id": n} for n, answer in enumerate(expected)]


def test_a_bad_request_is_a_400_that_says_why(endpoint):
    for value, kind, why in (
        ({"question": "Which?", "options": ["one"]}, "application/json", "only one option"),
        (row(questions(1)[0], question="aspirin?"), "application/json", "word 1 of its question is none of"),
        ({"question": "Which?"}, "text/csv", "its content type is text/csv"),
    ):
        reply = post(endpoint, value, kind)
        assert reply.status_code == 400
        assert why in reply.json()["message"]
        assert "Fix: " in reply.json()["message"]
    assert "aspirin" not in endpoint.printed
    assert post(endpoint, row(questions(1)[0])).status_code == 200


def test_sigterm_ends_it(endpoint):
    assert endpoint.stop() == 0
