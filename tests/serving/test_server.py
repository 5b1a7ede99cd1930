"""The team behind HTTP: many at once, anything at all, and what is said of it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served_run import body, questions, row

from maporl_cli.core.errors import MissingError, UsageError
from maporl_cli.rewards.risk import with_disclaimer
from maporl_cli.serving import server
from maporl_cli.serving.requests import BODY, CHARACTERS, ROWS
from maporl_cli.serving.server import bound
from maporl_cli.worker import ask_team

JSON = {"Content-Type": "application/json"}
AT_ONCE = 50
SECRET = "hemoptysis"
"""What no reason may repeat."""


def post(address: str, content: bytes, headers: dict[str, str] = JSON) -> httpx.Response:
    return httpx.post(f"{address}/invocations", content=content, headers=headers, timeout=60)


def all_at_once(address: str, contents: list[Any]) -> list[httpx.Response]:
    async def go() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(contents))
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
            sent = [client.post("/invocations", content=body(one), headers=JSON) for one in contents]
            return await asyncio.gather(*sent)

    return asyncio.run(go())


def test_fifty_at_once_each_get_their_own_answer_in_fewer_plays(run, team, served, monkeypatch, capsys):
    own = questions(AT_ONCE)
    told = ask_team(run.load_config(), run=run.path, questions=own, display="none")
    expected = [(with_disclaimer(one.turns[-1].text), one.answer) for one in told]
    assert len(set(expected)) == AT_ONCE
    play, plays = team._session.team.play, []
    monkeypatch.setattr(team._session.team, "play", lambda *given: [plays.append(1), play(*given)])
    address = served(team)
    before = httpx.get(f"{address}/ping").json()
    # Every third calls its question by the same id, every fifth comes in a list.
    names = ["same" if n % 3 == 0 else f"q{n}" for n in range(AT_ONCE)]
    rows = [row(question, id=name) for question, name in zip(own, names, strict=True)]
    replies = all_at_once(address, [[one] if n % 5 == 0 else one for n, one in enumerate(rows)])
    assert [reply.status_code for reply in replies] == [200] * AT_ONCE
    found = [reply.json() for reply in replies]
    assert [isinstance(one, list) for one in found] == [n % 5 == 0 for n in range(AT_ONCE)]
    answers = [one[0] if isinstance(one, list) else one for one in found]
    assert [one["id"] for one in answers] == names
    assert [(one["report"], one["answer"]) for one in answers] == expected
    after = httpx.get(f"{address}/ping").json()
    assert after["answered"] == AT_ONCE
    assert after["graph_runs"] - before["graph_runs"] == len(plays) < AT_ONCE / 5
    assert 0 < after["p50_seconds"] <= after["p95_seconds"] < 60
    with capsys.disabled():
        print(f"\n{AT_ONCE} at once: {len(plays)} plays, p95 {after['p95_seconds']:.2f} s ", end="")


def test_a_question_that_fails_fails_nobody_else(team, served, monkeypatch):
    own = questions(4)
    too_long = row(own[1], question=" ".join([own[1].text] * 200))
    play = team._session.team.play

    def breaks(episodes, draws):
        if any(episode.question.id == "breaks" for episode in episodes):
            raise KeyError(episodes[0].question.text)
        play(episodes, draws)

    monkeypatch.setattr(team._session.team, "play", breaks)
    said: list[str] = []
    address = served(team, said.append)
    rows = [row(own[0]), too_long, row(own[2], id="breaks"), row(own[3])]
    replies = all_at_once(address, rows)
    assert [reply.status_code for reply in replies] == [200, 400, 500, 200]
    assert "does not fit its model's context" in replies[1].json()["error"]["what"]
    told = replies[2].json()["error"]
    assert "KeyError" in told["what"]
    assert own[2].text not in replies[2].text + "".join(said)
    assert len(said) == 1
    assert "\n" not in said[0]
    figures = httpx.get(f"{address}/ping").json()
    assert (figures["answered"], figures["refused"], figures["failed"]) == (2, 1, 1)


GOOD = {"id": "1", "question": SECRET, "options": {"A": SECRET, "B": "other"}}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=7), inner, max_size=4),
    max_leaves=12,
)
NOT_TEXT = (
    st.integers() | st.floats() | st.booleans() | st.lists(st.text(max_size=3), max_size=2) | st.just({})
)
NO_TEXT = NOT_TEXT | st.sampled_from(["", "  ", "\ud800", "x\udfff"])
BAD_OPTIONS = (
    st.integers()
    | st.text(max_size=9)
    | st.sampled_from(
        [
            [],
            {},
            [SECRET],
            {"A": SECRET},
            {"A": SECRET, "a": "b"},
            {"A": SECRET, "1": "b"},
            {SECRET: "a", "B": "b"},
            {"A": SECRET, "B": ""},
            {"A": SECRET, "B": 4},
            [SECRET, None],
            [{"letter": "A", "content": SECRET}, {"letter": "A", "content": "b"}],
            [{"letter": "A"}, {"content": SECRET}],
            ["x"] * 27,
        ]
    )
)
BAD_EVIDENCE = (
    st.integers()
    | st.text(min_size=1, max_size=9)
    | st.sampled_from(
        [
            {},
            [SECRET],
            [{"id": "e"}],
            [{"text": SECRET}],
            [{"id": "e", "text": ""}],
            [{"id": [], "text": SECRET}],
            [{"id": "e", "text": SECRET}, {"id": "e", "text": "b"}],
            [{"id": "e", "text": "a", "level": 3}],
        ]
    )
)


def nested(depth: int) -> bytes:
    return b'{"question": "x", "y": ' + b"[" * depth + b"]" * depth + b"}"


def changed(**values: Any) -> bytes:
    return body({**GOOD, **values})


MALFORMED: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=200),
    JUNK.map(body),
    st.lists(JUNK, max_size=4).map(body),
    st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.integers(1, len(body(GOOD)) - 1).map(lambda end: body(GOOD)[:end]),
    st.binary(min_size=1, max_size=9).map(lambda more: body(GOOD) + b"x" + more),
    st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]).map(lambda name: json.dumps(GOOD).encode(name)),
    NO_TEXT.map(lambda value: changed(question=value)),
    BAD_OPTIONS.map(lambda value: changed(options=value)),
    BAD_EVIDENCE.map(lambda value: changed(evidence=value)),
    (st.floats() | st.booleans() | st.just([1]) | st.just({"a": 1})).map(lambda value: changed(id=value)),
    NOT_TEXT.map(lambda value: changed(context=value if value != {} else [SECRET])),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]).map(lambda value: changed(age=value)),
    st.sampled_from(["question", "options", "id", SECRET]).map(
        lambda name: body(GOOD)[:-1] + b', "%s": 1, "%s": 2}' % (name.encode(), name.encode())
    ),
    st.integers(9, 200_000).map(nested),
    st.integers(1, 5).map(lambda n: changed(context=SECRET * CHARACTERS * n)),
    st.integers(ROWS + 1, 500).map(lambda n: body([GOOD] * n)),
    st.integers(BODY, 2 * BODY).map(lambda n: b" " * n + body(GOOD)),
    st.integers(0, 3).map(lambda place: body([[GOOD, 1, None, {}][place - n] for n in range(4)])),
    st.integers(4301, 9000).map(lambda n: b"1" * n),
    st.just(body(GOOD)),  # tiny policies do not know the word
)
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
OTHER_TYPES = (
    st.none()
    | st.sampled_from(["text/csv", "application/octet-stream", "application/json; charset=latin-1", ";"])
    | PRINTABLE
    | PRINTABLE.map(lambda charset: f"application/json; charset*={charset}'{charset}'{charset}")
)


@pytest.fixture
def asking(team, served):
    address = served(team)
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


def test_a_thousand_malformed_requests_are_refused_with_a_reason_and_the_server_lives(asking):
    statuses: list[int] = []

    # No shrinking of megabytes, no database: each example is a request that counts.
    @settings(max_examples=1000, suppress_health_check=list(HealthCheck), database=None)
    @given(
        MALFORMED,
        st.integers(0, 9).flatmap(lambda n: st.just(None) if n else OTHER_TYPES.map(lambda kind: (kind,))),
    )
    def refused(content: bytes, kind: tuple[str | None] | None) -> None:
        headers = JSON if kind is None else {"Content-Type": kind[0]} if kind[0] else {}
        reply = asking.post("/invocations", content=content, headers=headers)
        statuses.append(reply.status_code)
        assert reply.status_code in (400, 413)
        told = reply.json()["error"]
        assert told["what"].endswith(".")
        assert told["fix"]
        assert SECRET not in reply.text
        # All but that one are refused for what they are, and none because no policy knows its words.
        assert content == body(GOOD) or "know no words" not in told["what"]
        assert reply.headers["content-type"] == "application/json"

    refused()
    assert len(statuses) >= 1000
    assert set(statuses) == {400, 413}
    figures = asking.get("/ping").json()
    assert figures["refused"] == len(statuses)
    assert figures["answered"] == figures["failed"] == figures["waiting"] == 0
    reply = asking.post("/invocations", content=body(row(questions(1)[0])), headers=JSON)
    assert reply.status_code == 200


def test_well_formed_requests_are_never_refused(asking):
    own = questions(40)
    drawn = random.Random(0)
    for _ in range(6):
        rows = [row(one, id=drawn.choice([None, 3, "x", "\u202e<b>"])) for one in drawn.sample(own, 3)]
        rows[0]["age"] = drawn.random()
        reply = asking.post("/invocations", content=body(rows), headers=JSON)
        assert reply.status_code == 200
        assert len(reply.json()) == 3


def test_a_body_is_refused_as_soon_as_it_is_too_long_however_it_comes(asking):
    reply = asking.post("/invocations", content=(b" " * 65536 for _ in range(40)), headers=JSON)  # chunked
    assert reply.status_code == 413
    assert asking.get("/ping").status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(asking, monkeypatch):
    monkeypatch.setattr(server, "_BODY_SECONDS", 0.05)

    async def slowly():
        yield b"{"
        await asyncio.sleep(0.5)
        yield b"}"

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(base_url=asking.base_url) as client:
            return await client.post("/invocations", content=slowly(), headers=JSON)

    reply = asyncio.run(go())
    assert reply.status_code == 400
    assert "did not come within" in reply.json()["error"]["why"]


def test_other_paths_and_methods_are_told_what_there_is(asking):
    for method, path, status in (("GET", "/", 404), ("GET", "/invocations", 405), ("POST", "/ping", 405)):
        reply = asking.request(method, path)
        assert reply.status_code == status
        assert "/invocations" in reply.json()["error"]["fix"]


def test_an_answer_is_no_page(asking):
    reply = asking.post(
        "/invocations", content=body(row(questions(1)[0], id="</script>\x1b[2J")), headers=JSON
    )
    assert reply.json()["id"] == "</script>\x1b[2J"
    assert not set("<>&\x1b") & set(reply.text)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


def test_an_address_that_cannot_be_had():
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        taken.listen()
        with pytest.raises(MissingError) as told:
            bound("127.0.0.1", port)
        assert str(port) in told.value.what
        assert "--port" in told.value.fix
    for host in ("no.such.host.invalid", "203.0.113.7"):
        with pytest.raises(UsageError):
            bound(host, 0)
