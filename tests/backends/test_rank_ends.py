"""How a training on several ranks ends before its end: a rank is killed, somebody asks it to stop.

The kills are slow tests: `make test-slow`.
"""

from __future__ import annotations

import json
import re
import signal
import time

import psutil
import pytest
from launched import LONG, Going, stops

from maporl_cli.training.stop import STOPS


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_run_with_its_name(tmp_path):
    sets = ("train.max_steps=400", "train.save_every=1")
    going = Going(tmp_path, "--nproc", "4", sets=sets)
    going.until("step 2/400")
    ranks = going.ranks()
    ranks[2].kill()
    code, said = going.end()
    assert code == 1
    assert "Rank 2 (analyst) was killed by SIGKILL." in said
    assert "step 2/400" in said, "its last lines"
    assert said.count("Fix:") == 1, said
    assert "run the same command with --resume --name run" in said
    assert not [rank for rank in ranks.values() if rank.is_running()]
    # Rank 1 has told in its log how it lost rank 2; that is no news when it is killed in the next sitting.
    again = Going(tmp_path, "--nproc", "4", "--resume", sets=sets)
    again.until("going on from")
    again.ranks()[1].kill()
    code, said = again.end()
    assert code == 1
    assert "Rank 1 (researcher) was killed by SIGKILL." in said
    assert said.count("Fix:") == 1, said


@pytest.mark.slow
def test_a_rank_that_is_killed_before_there_is_a_run_leaves_none_to_go_on_with(tmp_path):
    going = Going(tmp_path, "--nproc", "2")
    deadline = time.monotonic() + 120
    while not (ranks := going.ranks()):
        assert time.monotonic() < deadline, going.said
        time.sleep(0.05)
    list(ranks.values())[-1].kill()
    code, said = going.end()
    assert code == 1
    assert "was killed by SIGKILL." in said
    assert "Fix: run the same command again" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", sorted({*STOPS} - {signal.SIGTERM}))
def test_a_stop_reaches_every_rank_and_leaves_a_checkpoint(tmp_path, number):
    going = Going(tmp_path, "--nproc", "2", sets=LONG)
    going.until("step 2/400")
    stops(going, tmp_path / "run", number)


def test_one_rank_that_is_asked_to_stop_is_not_started_again(tmp_path):
    going = Going(tmp_path, "--nproc", "2", "--max-restarts", "1", sets=LONG)
    going.until("step 2/400")
    going.ranks()[1].terminate()
    code, said = going.end()
    assert code == 130, said
    assert "going on from" not in said
    assert re.search(r"the last checkpoint is step_0*[2-9]", said)


@pytest.mark.slow
def test_ranks_end_with_their_launcher_and_keep_what_they_learned(tmp_path):
    going = Going(tmp_path, "--nproc", "2", sets=LONG)
    going.until("step 3/400")
    ranks = going.ranks()
    going.process.kill()
    gone, alive = psutil.wait_procs(list(ranks.values()), timeout=20)
    assert (len(gone), alive) == (2, [])
    latest = (tmp_path / "run" / "checkpoints" / "latest").read_text()
    assert int(latest.removeprefix("step_")) >= 3


@pytest.mark.slow
def test_restarted_ranks_go_on_from_the_last_checkpoint(tmp_path):
    sets = ("train.max_steps=9", "train.save_every=4")
    going = Going(tmp_path, "--nproc", "2", "--max-restarts", "1", sets=sets)
    going.until("step 5/9")
    going.ranks()[1].kill()
    code, said = going.end()
    assert code == 0, said
    assert "going on from step 4" in said
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert steps == list(range(10))
