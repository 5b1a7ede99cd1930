"""Small trainings as a user starts them: the command, its ranks, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from small_runs import SMALL
from typer.testing import CliRunner

from maporl_cli.cli.main import app
from maporl_cli.core.errors import MaporlError

BIN = Path(sys.executable).parent
LONG = ("train.max_steps=400", "train.save_every=400")


def command(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> list[str]:
    told = ["train", "--name", "run", "--output-dir", str(folder), "--display", "plain", *words]
    for value in (*SMALL, "eval.baselines=[]", "rollout.microbatches=4", *sets):
        told += ["--set", value]
    return [str(BIN / "maporl"), *told]


def run(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *words, sets=sets), capture_output=True, text=True, timeout=240)


def refused(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> MaporlError:
    """Why the command is refused before it starts anything; asked in this process."""
    done = CliRunner().invoke(app, command(folder, *words, sets=sets)[1:])
    assert isinstance(done.exception, MaporlError), done.output
    return done.exception


class Going:
    """A training that is under way: its ranks can be found and signalled."""

    def __init__(self, folder: Path, *words: str, sets: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            command(folder, *words, sets=sets), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 120
        while not any(text in line for line in self.said):
            assert time.monotonic() < deadline, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.05)

    def ranks(self) -> dict[int, psutil.Process]:
        return ranks_of(self.process.pid)

    def end(self) -> tuple[int, str]:
        code = self.process.wait(timeout=120)
        self._listener.join()
        return code, "\n".join(self.said)


def stops(going: Going, run: Path, number: int) -> None:
    """Asserts that a run, which wrote no checkpoint but its first yet, ends in order when it is asked to."""
    ranks = going.ranks()
    os.kill(going.process.pid, number)
    code, said = going.end()
    assert code == 130
    latest = (run / "checkpoints" / "latest").read_text()
    assert int(latest.removeprefix("step_")) >= 2
    assert f"the last checkpoint is {latest}" in said
    assert "Traceback" not in said
    assert not [rank for rank in ranks.values() if rank.is_running()]


def ranks_of(launcher: int) -> dict[int, psutil.Process]:
    """The processes of a launcher's ranks."""
    # Only its own children: what a rank starts, such as git, has the rank's environment.
    children = psutil.Process(launcher).children()
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}
