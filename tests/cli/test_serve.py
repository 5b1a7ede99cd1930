"""`maporl serve` as a process: how it starts, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx
import pytest
from served_run import body, finished_run, questions, row

from maporl_cli.core.run_dir import RunDir

CALL = "import sys; from maporl_cli.cli.main import main; sys.argv[0] = 'maporl'; main()"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    return finished_run(tmp_path_factory.mktemp("served"))


@contextmanager
def serving(run: RunDir, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own, and its address; what it still says is read by whoever ends it."""
    command = [sys.executable, "-c", CALL, "serve", str(run.path), "--port", "0", "--json", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        told = json.loads(line)
        assert (told["event"], told["run"]) == ("serving", str(run.path))
        yield process, told["address"]
    finally:
        process.kill()
        process.wait()


def accepts(address: str) -> bool:
    try:
        httpx.get(f"{address}/ping")
    except httpx.TransportError:
        return False
    return True


def test_sigterm_finishes_what_has_come(run):
    own = questions(40)
    with serving(run) as (process, address), ThreadPoolExecutor(8) as clients:
        content = body([row(one) for one in own])
        sent = [
            clients.submit(httpx.post, f"{address}/invocations", content=content, headers=JSON, timeout=60)
            for _ in range(8)
        ]
        until = time.monotonic() + 60
        # A play holds one of them, so that all have come where seven wait or are answered.
        while (seen := httpx.get(f"{address}/ping").json())["waiting"] + 40 * seen["answered"] < 7 * 40:
            assert time.monotonic() < until
        assert seen["answered"] < 8
        process.send_signal(signal.SIGTERM)
        while accepts(address):
            assert time.monotonic() < until
        replies = [one.result() for one in sent]
        assert [reply.status_code for reply in replies] == [200] * 8
        assert len({reply.text for reply in replies}) == 1
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    done = json.loads(out)
    assert (done["event"], done["answered"], done["questions"]) == ("done", 8, 320)
    assert done["p95_seconds"] > 0
    assert "Traceback" not in err
    assert own[0].text not in err
    assert f"serving {run.path} at {address}" in err


def test_ctrl_c_finishes_too_and_ends_with_130(run, monkeypatch, capfd):
    """In this process, whose main thread it interrupts."""
    from maporl_cli.cli.main import main

    replies: list[httpx.Response] = []

    def interrupt() -> None:
        replies.append(httpx.get(f"{address}/ping"))
        content = body([row(one) for one in questions(40)])
        with ThreadPoolExecutor(1) as client:
            sent = client.submit(
                httpx.post, f"{address}/invocations", content=content, headers=JSON, timeout=60
            )
            while httpx.get(f"{address}/ping").json()["graph_runs"] == 0:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            replies.append(sent.result())

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    from maporl_cli.serving import server

    serve_until_stopped = server.serve_until_stopped
    user = Thread(target=interrupt)

    def served(*given) -> None:
        user.start()
        serve_until_stopped(*given)

    monkeypatch.setattr(server, "serve_until_stopped", served)
    words = ["serve", str(run.path), "--port", str(port), "--json", "--display", "none"]
    monkeypatch.setattr(sys, "argv", ["maporl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    user.join(60)
    out, err = capfd.readouterr()
    assert ended.value.code == 130
    assert replies[0].json()["p95_seconds"] is None
    assert len(replies[1].json()) == 40
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["serving", "done"]
    assert err == ""


@pytest.fixture
def refused(monkeypatch, capfd):
    def refused(*words: str) -> tuple[int, str]:
        from maporl_cli.cli.main import main

        monkeypatch.setattr(sys, "argv", ["maporl", "serve", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        return int(ended.value.code or 0), err

    return refused


def test_what_cannot_be_served(run, refused, tmp_path):
    code, err = refused(str(run.path.parent / "rum"))
    assert code == 3
    assert f"did you mean {run.path}?" in err
    unfinished = Path(shutil.copytree(run.path, tmp_path / "begun"))
    shutil.rmtree(unfinished / "final_model")
    code, err = refused(str(unfinished), "--port", "0")
    assert code == 4
    assert "--resume --name begun" in err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, err = refused(str(run.path), "--port", port)
    assert code == 4
    assert f"The port {port} cannot be had." in err
    assert "--port" in err.splitlines()[-1]
    assert refused(str(run.path), "--port", "70000")[0] == 2
    assert refused()[0] == 2


def test_what_a_person_is_told_at_its_end(run, monkeypatch, capfd):
    from maporl_cli.cli.main import main
    from maporl_cli.serving import server

    monkeypatch.setattr(
        server, "serve_until_stopped", lambda service, listening: service.figures.add(3, 0.25)
    )
    monkeypatch.setattr(sys, "argv", ["maporl", "serve", str(run.path), "--port", "0", "--host", "0.0.0.0"])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert (ended.value.code or 0) == 0
    assert out == (
        "answered 1 requests (3 questions) in 0 plays of the team, refused 0, failed in 0; p50 0.25 s, "
        "p95 0.25 s\n"
    )
    assert "caution: whoever reaches this address may ask" in err
