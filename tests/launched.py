"""Small trainings as a user starts them: the command, its ranks, and what is said."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from small_runs import SMALL

BIN = Path(sys.executable).parent


def command(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> list[str]:
    told = ["train", "--name", "run", "--output-dir", str(folder), "--display", "plain", *words]
    for value in (*SMALL, "eval.baselines=[]", "rollout.microbatches=4", *sets):
        told += ["--set", value]
    return [str(BIN / "maporl"), *told]


def run(folder: Path, *words: str, sets: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *words, sets=sets), capture_output=True, text=True, timeout=240)


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


def ranks_of(launcher: int) -> dict[int, psutil.Process]:
    """The processes of a launcher's ranks."""
    # Only its own children: what a rank starts, such as git, has the rank's environment.
    children = psutil.Process(launcher).children()
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}
