"""The runs of a study that go on at the same time, each in a process on ranks of its own."""

from __future__ import annotations

import os
import shutil
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
from maporl_cli.core.errors import Interrupted, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.core.run_lock import is_held
from maporl_cli.training.stop import STOPS, StopRequest

_PROGRAM = ("-m", "maporl_cli.tuning.trial")
_LOOK_EVERY = 0.2
"""Seconds between two looks at the runs that go on."""
_ROOM = 1 << 24
"""Bytes; where a disk has less, it is the disk that a run failed for, and not its settings."""
_TO_STOP = 60
"""Seconds that runs have to write a checkpoint when the study cannot go on."""
_ASKED = (Interrupted.exit_code, *(-number for number in STOPS))
"""How a run ends that somebody asked to stop."""

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
        RunFailed, MissingError: a run failed for what the machine lacks; those beside it were stopped, too.
    """
    free = list(places)
    going: list[_Going] = []
    next_one: Job | None = None
    with TemporaryDirectory(prefix="maporl-") as folder:
        try:
            while True:
                while free and not stop.requested:
                    next_one = next_one or next(jobs, None)
                    # That of a study that was killed is about to end.
                    if next_one is None or is_held(RunDir.of(next_one.config)):
                        break
                    job, next_one = next_one, None
                    if results := _results(RunDir.of(job.config)):
                        job.done(results)
                    else:
                        going.append(_Going(job, free.pop(0), nproc, Path(folder)))
                if not going and (next_one is None or stop.requested):
                    break
                for one in [one for one in going if one.ended(stopping=stop.requested)]:
                    going.remove(one)
                    free.append(one.place)
                time.sleep(_LOOK_EVERY)
        except BaseException as error:
            for one in going:
                one.stop()
            for one in going:
                one.end(0 if isinstance(error, KeyboardInterrupt) else _TO_STOP)
            raise
    if stop.requested:
        raise Interrupted("The study was stopped.", fix="run the same command with --resume to go on")


def _results(run: RunDir) -> Mapping[str, Any]:
    """What a run came to; empty where it has not come to its end.

    Raises:
        RunFailed: the file was damaged.
    """
    try:
        found = read_object(run.results)
        if found and not found["eval"]["after"]:
            raise KeyError
    except (RunFailed, KeyError, TypeError) as error:
        missing = "it does not say how the team answered in the end"
        raise RunFailed(
            f"The results of the run {run.path} cannot be read.",
            where=str(run.results),
            why=error.why if isinstance(error, RunFailed) else missing,
            fix="delete that file, and run the same command with --resume: the run is measured again from "
            "its last checkpoint, and no other is touched",
        ) from error
    return found


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
                self.stop()
            return False
        results = _results(RunDir.of(self._job.config))
        if results:
            self._job.done(results)
        elif code in _ASKED:
            if not (stopping or self._asked_to_stop):
                raise Interrupted(
                    f"The run {RunDir.of(self._job.config).path} was asked to stop, and not by its study.",
                    fix="run the same command with --resume to go on",
                )
            if not stopping:
                self._job.stopped()
        else:
            self._refuse_machine(code)
            self._job.failed(self._why(code))
        return True

    def stop(self) -> None:
        """Ask it to write a checkpoint, and to end."""
        self._asked_to_stop = True
        self._process.send_signal(signal.SIGTERM)

    def end(self, within: float) -> None:
        """Wait so many seconds for its end, which is then made."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _refuse_machine(self, code: int) -> None:
        """Nothing, where other settings might have done better.

        Raises:
            RunFailed, MissingError: it failed for what the machine lacks, as all others would.
        """
        run = RunDir.of(self._job.config)
        full = shutil.disk_usage(run.path.parent).free < _ROOM
        if full or code == MissingError.exit_code:
            kind = RunFailed if full else MissingError
            raise kind(
                f"The run {run.path} cannot go on.",
                why="the disk is full" if full else self._why(code).splitlines()[0],
                fix="mend that, and run the same command with --resume; nothing is lost",
            )

    def _why(self, code: int) -> str:
        if code < 0:
            return f"It was killed by {signal.Signals(-code).name}."
        if self._failure.exists():
            return self._failure.read_text(encoding="utf-8")
        return f"It ended with exit code {code}."
