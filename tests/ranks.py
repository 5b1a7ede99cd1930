"""Several ranks for a test: processes forked from a server that has everything imported already."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from html_page import blank_plots

_CONTEXT = multiprocessing.get_context("forkserver")
# What a rank would import only when it needs it is here as well: on every rank, that takes a second.
_CONTEXT.set_forkserver_preload(
    [
        "maporl_cli.worker.__main__",
        "maporl_cli.data.clinic.world",
        "maporl_cli.tuning.tune",
        "matplotlib.figure",
        "matplotlib.ticker",
        "pytest",
        "safetensors.torch",
        "small_runs",
        "sqlalchemy.dialects.sqlite",
        "statsmodels.stats.proportion",
        "support",
        "first_use",
    ]
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_ranks(count: int, work: Callable[..., Any], *arguments: Any, nodes: int = 1) -> Ranks:
    """Run `work(*arguments)` on `count` ranks, each with the environment that torchrun would give it."""
    return Ranks(count, work, arguments, nodes)


def on_ranks(count: int, work: Callable[..., Any], *arguments: Any, nodes: int = 1) -> list[Any]:
    """What `work` returns on each rank; a rank that raises fails the test."""
    return start_ranks(count, work, *arguments, nodes=nodes).results()


class Ranks:
    def __init__(self, count: int, work: Callable[..., Any], arguments: tuple[Any, ...], nodes: int) -> None:
        with pytest.MonkeyPatch.context() as patched:  # the server is not told where the tests' helpers are
            patched.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
            forkserver.ensure_running()
        port = free_port()
        self.processes, self._pipes = [], []
        for rank in range(count):
            ours, theirs = _CONTEXT.Pipe(duplex=False)
            local = count // nodes
            environment = {
                "RANK": rank,
                "WORLD_SIZE": count,
                "LOCAL_RANK": rank % local,
                "LOCAL_WORLD_SIZE": local,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": 1,
            }
            process = _CONTEXT.Process(target=_work, args=(environment, theirs, work, arguments), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self._pipes.append(ours)

    def results(self, timeout: float = 120.0) -> list[Any]:
        try:
            told = [self._result(rank, timeout) for rank in range(len(self.processes))]
        finally:
            for process in self.processes:
                process.kill()
        for rank, (value, error) in enumerate(told):
            assert error is None, f"rank {rank}:\n{error}"
            assert value is not None or error is None
        return [value for value, _ in told]

    def outcomes(self, timeout: float = 120.0, *, silent: int | None = None) -> list[tuple[Any, str | None]]:
        """(result, traceback) of each rank; a rank that died has neither.

        Args:
            silent: a rank that is expected to say nothing; it is asked when all others have told.
        """
        others = [rank for rank in range(len(self.processes)) if rank != silent]
        try:
            told = {rank: self._result(rank, timeout) for rank in others}
            if silent is not None:
                told[silent] = self._result(silent, 0.0)
            return [told[rank] for rank in sorted(told)]
        finally:
            for process in self.processes:
                process.kill()

    def _result(self, rank: int, timeout: float) -> tuple[Any, str | None]:
        pipe = self._pipes[rank]
        if not pipe.poll(timeout):
            return None, f"nothing within {timeout} s"
        try:
            return pickle.loads(pipe.recv_bytes())
        except EOFError:
            return None, "died"


def _work(
    environment: dict[str, Any], pipe: Any, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    import torch

    torch.set_num_threads(1)
    blank_plots(pytest.MonkeyPatch())
    try:
        pipe.send_bytes(pickle.dumps((work(*arguments), None)))
    except BaseException:  # noqa: BLE001 told to the test
        pipe.send_bytes(pickle.dumps((None, traceback.format_exc())))
    pipe.close()
    if environment["RANK"] == 0:  # keeps the store, in which others may still look something up
        signal.pause()
    os._exit(0)
