"""A run is trained by one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maporl_cli.core.errors import ConfigError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.run_lock import alone_in

HOLD = """
import sys
from pathlib import Path
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.run_lock import alone_in
with alone_in(RunDir(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(run: RunDir) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_told_which_run_and_whose_it_is(tmp_path: Path):
    run = RunDir(tmp_path / "run")
    with holder(run) as first:
        for _ in range(2):
            with pytest.raises(ConfigError, match="run is being trained already") as told, alone_in(run):
                pass
            assert told.value.where == f"process {first.pid}"
            assert f"`kill {first.pid}`" in told.value.fix
        with alone_in(RunDir(tmp_path / "another")):
            pass
        first.communicate()
    with alone_in(run):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_holds_nothing(tmp_path: Path):
    run = RunDir(tmp_path / "run")
    with holder(run) as first:
        first.kill()
    with alone_in(run):
        assert (tmp_path / ".run.lock").read_text() == str(os.getpid())


def test_a_lock_that_was_taken_away_while_it_was_waited_for_counts_for_nothing(tmp_path: Path, monkeypatch):
    from maporl_cli.core import run_lock

    run, lock = RunDir(tmp_path / "run"), tmp_path / ".run.lock"
    locked = run_lock._locked
    taken_away = iter([True, False])

    def late(descriptor: int) -> bool:
        if next(taken_away):
            lock.unlink()
        return locked(descriptor)

    monkeypatch.setattr(run_lock, "_locked", late)
    with alone_in(run):
        assert lock.read_text() == str(os.getpid())
