"""A team that is served, once for all of these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread

import pytest
from served_run import finished_run

from maporl_cli.core.run_dir import RunDir
from maporl_cli.serving.handler import model_fn
from maporl_cli.serving.served_team import ServedTeam
from maporl_cli.serving.server import Service, address_of, bound, server_of


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return finished_run(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def team(run: RunDir) -> ServedTeam:
    return model_fn(run.path)


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Serves a team from a thread, until the test has ended; its address."""
    with ExitStack() as ends:

        def serve(team: ServedTeam, say: Callable[[str], None] = lambda _: None) -> str:
            listening = ends.enter_context(bound("127.0.0.1", 0))
            listening.listen()
            server = server_of(Service(team, say))
            thread = Thread(target=lambda: server.run(sockets=[listening]))
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(60)
                assert not thread.is_alive()

            ends.callback(stop)
            return address_of(listening)

        yield serve
