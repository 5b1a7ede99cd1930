"""The runs of a study that go on at the same time, each in a process on ranks of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.training.stop import StopRequest

_PROGRAM = ("-m", "maporl_cli.tuning.trial")
_LOOK_EVERY = 0.2
"""Seconds between two looks at the runs that go on."""

Place = Mapping[str, str]
"""Where a run's ranks are: what its environment says of GPUs and threads."""


class Job(Protocol):
    """A run that is to be trained."""

    @property
    def config(self) -> Config:
        """With a run name; a run that is there already is gone on with."""
        ...

    def goes_on(self) -> bool:
        """Asked again and again while it trains; False stops it early."""
        ...

    def done(self, results: Mapping[str, Any]) -> None:
        """It trained to its end; `results` is its `training_results.json`."""
        ...

    def stopped(self) -> None:
        """It was stopped early, as `goes_on` had asked for."""
        ...

    def failed(self, why: str) -> None:
        """It ended without results."""
        ...


def places(nproc: int, parallel: int, gpus: int) -> list[Place]:
    """Where so many runs can go on at a time.

    Args:
        nproc: ranks of a run.
        parallel: runs.
        gpus: of this machine; without any, the runs share its cores.
    """
    if not gpus:
        threads = max(1, (os.cpu_count() or 1) // (nproc * parallel))
        return [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}] * parallel
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(visible[first : first + nproc])}
        for first in range(0, parallel * nproc, nproc)
    ]


def train_all(jobs: Iterator[Job], places: Sequence[Place], nproc: int, stop: StopRequest) -> None:
    """Train each as soon as a place is free.

    A run that is done already is not trained again, but told of again.

    Raises:
        Interrupted: a stop was asked for; the runs that went on have written a checkpoint.
    """
    free = list(places)
    going: list[_Going] = []
    with TemporaryDirectory(prefix="maporl-") as folder:
        try:
            while True:
                while free and not stop.requested and (job := next(jobs, None)) is not None:
                    if results := read_object(RunDir.of(job.config).results):
                        job.done(results)
                    else:
                        going.append(_Going(job, free.pop(0), nproc, Path(folder)))
                if not going:
                    break
                for one in [one for one in going if one.ended(stopping=stop.requested)]:
                    going.remove(one)
                    free.append(one.place)
                time.sleep(_LOOK_EVERY)
        finally:
            for one in going:  # a second Ctrl-C, or an error of our own
                one.kill()
    if stop.requested:
        raise Interrupted("The study was stopped.", fix="run the same command with --resume to go on")


class _Going:
    """A run that goes on."""

    def __init__(self, job: Job, place: Place, nproc: int, folder: Path) -> None:
        self.place = place
        self._job = job
        self._asked_to_stop = False
        self._failure = folder / f"{job.config.run.name}.txt"
        config = folder / f"{job.config.run.name}.yaml"
        config.write_text(to_yaml(job.config), encoding="utf-8")
        program = [*_PROGRAM, "--config", str(config), "--nproc", str(nproc)]
        program += ["--failure", str(self._failure), "--launcher", str(os.getpid())]
        self._process = subprocess.Popen(
            [sys.executable, *program],
            env={**os.environ, **place},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the study, which asks its runs to stop
        )

    def ended(self, *, stopping: bool) -> bool:
        """Whether it has ended, which its job is then told."""
        code = self._process.poll()
        if code is None:
            if not self._asked_to_stop and (stopping or not self._job.goes_on()):
                self._asked_to_stop = True
                self._process.send_signal(signal.SIGTERM)
            return False
        results = read_object(RunDir.of(self._job.config).results)
        if results:
            self._job.done(results)
        elif self._asked_to_stop and code in (Interrupted.exit_code, -signal.SIGTERM):
            if not stopping:
                self._job.stopped()
        else:
            self._job.failed(self._why(code))
        return True

    def kill(self) -> None:
        """End it at once, with all of its ranks."""
        self._process.kill()
        self._process.wait()

    def _why(self, code: int) -> str:
        if code < 0:
            return f"It was killed by {signal.Signals(-code).name}."
        if self._failure.exists():
            return self._failure.read_text(encoding="utf-8")
        return f"It ended with exit code {code}."
