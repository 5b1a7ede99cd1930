"""What a server that only this machine reaches answers to, by the name that it is asked by."""

from __future__ import annotations

import asyncio
import json
import sys
from threading import Thread

import httpx
import pytest
from served_run import body, questions, row

from maporl_cli.serving import server
from maporl_cli.serving.server import Service, address_of, bound, is_local, server_of

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def asking(team):
    """A way to ask a server on this machine, that was started with `--host ward`, by any name."""
    with bound("127.0.0.1", 0) as listening:
        listening.listen()
        running = server_of(Service(team, lambda _: None, "Ward"))
        thread = Thread(target=lambda: running.run(sockets=[listening]))
        thread.start()
        with httpx.Client(base_url=address_of(listening), timeout=60) as client:
            yield client
        running.should_exit = True
        thread.join(60)


OWN = [
    *("127.0.0.1", "127.0.0.1:8080", "localhost", "LOCALHOST:8080", "127.0.1.1"),
    *("[::1]", "[::1]:8080", "ward:1"),
]
OTHERS = [
    *("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"),
    *("ward.example", "127.0.0.1@evil.example", "192.0.2.1:8080", "[2001:db8::1]:8080", "[::1", ""),
]


@pytest.mark.parametrize("name", OWN)
def test_it_answers_to_its_own_names(asking, name: str):
    assert asking.get("/ping", headers={"Host": name}).status_code == 200
    content = body(row(questions(1)[0]))
    assert asking.post("/invocations", content=content, headers={**JSON, "Host": name}).status_code == 200


@pytest.mark.parametrize("name", OTHERS)
def test_it_refuses_another_name_in_the_words_of_every_refusal(asking, name: str):
    content = body(row(questions(1)[0]))
    for reply in (
        asking.get("/ping", headers={"Host": name}),
        asking.post("/invocations", content=content, headers={**JSON, "Host": name}),
        asking.get("/elsewhere", headers={"Host": name}),
    ):
        assert reply.status_code == 400
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["cache-control"] == "no-store"
        told = reply.json()["error"]
        assert told["what"] == "The request is to another name."
        assert told["fix"] == "ask it as Ward; a proxy in front of it has to send that as Host"
    assert asking.get("/ping").json()["answered"] == 0


def test_any_name_will_do_where_others_reach_it(team, served):
    assert httpx.get(f"{served(team)}/ping", headers={"Host": "ward.example"}).status_code == 200


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_the_command_knows_which_addresses_are_its_own(run, monkeypatch, capfd, host: str, local: bool):
    from maporl_cli.cli.main import main

    def ask(service: Service, listening) -> None:
        assert is_local(listening) is local
        transport = httpx.ASGITransport(service.app)

        async def go() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://evil.example") as client:
                return await client.get("/ping")

        replies.append(asyncio.run(go()).status_code)

    replies: list[int] = []
    monkeypatch.setattr(server, "serve_until_stopped", ask)
    words = ["serve", str(run.path), "--port", "0", "--json", "--host", host]
    monkeypatch.setattr(sys, "argv", ["maporl", *words])
    with pytest.raises(SystemExit):
        main()
    out, err = capfd.readouterr()
    assert replies == [400 if local else 200]
    assert json.loads(out.splitlines()[-1])["refused"] == int(local)
    assert ("caution" in err) is not local
