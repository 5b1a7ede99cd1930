"""`maporl train --nproc N`: what a user of several ranks sees, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from launched import BIN, Going, run

from maporl_cli.training.stop import STOPS


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder, "--nproc", "2", "--json", "--profile")


def test_a_run_on_two_ranks_ends_like_one_on_one(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    event = json.loads(line)
    assert (event["event"], event["run"], event["steps"]) == ("done", str(folder / "run"), 4)
    assert set(event["eval"]) == {"before", "after"}
    assert sorted(file.name for file in (folder / "run" / "logs").iterdir()) == ["rank_0.log", "rank_1.log"]
    assert "rank 1 of 2: researcher, analyst" in (folder / "run" / "logs" / "rank_1.log").read_text()
    assert "step 4/4" in (folder / "run" / "logs" / "rank_1.log").read_text()
    # The console is rank 0's alone.
    assert "rank 0 of 2: planner, reporter" in done.stderr
    assert "researcher, analyst" not in done.stderr
    assert done.stderr.count("step 1/4") == 1


def test_the_profile_shows_both_ranks_at_work(finished):
    folder, _ = finished
    events = json.loads((folder / "run" / "profile.json").read_text())["traceEvents"]
    spoke = {(event["pid"], event["name"]) for event in events if event.get("cat") == "turns"}
    assert spoke == {(0, "planner"), (0, "reporter"), (1, "researcher"), (1, "analyst")}
    for pid in (0, 1):
        phases = [event["name"] for event in events if event.get("cat") == "phase" and event["pid"] == pid]
        assert phases.count("rollout") == phases.count("update") == 4
    for event in events:
        if event["ph"] == "X":
            assert event["dur"] > 0


def test_torchrun_starts_the_same_program(finished, tmp_path):
    folder, _ = finished
    config = tmp_path / "config.yaml"
    config.write_text((folder / "run" / "config.yaml").read_text().replace(str(folder), str(tmp_path)))
    words = ["--nproc-per-node", "2", "-m", "maporl_cli.worker", "--config", str(config)]
    done = subprocess.run([BIN / "torchrun", *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 4
    for step in range(1, 5):
        file = Path("run") / "episodes" / f"step_{step:06d}.jsonl"
        assert (tmp_path / file).read_text() == (folder / file).read_text()
    # Started again, as after a failure, the ranks of the next launch do not take this run for their own.
    alone = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "1"}
    words = [BIN / "torchrun", "--max-restarts", "1", *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, env=alone)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("/run exists.") == 2, "refused at first, and when started again"


def test_a_config_that_only_another_rank_lacks_is_told(tmp_path):
    rank = tmp_path / "rank.sh"
    (tmp_path / "config-0.yaml").write_text("{}\n")
    rank.write_text(f"exec {sys.executable} -m maporl_cli.worker --config {tmp_path}/config-$RANK.yaml\n")
    words = [BIN / "torchrun", "--nproc-per-node", "2", "--no-python", "sh", str(rank)]
    # Rank 0 waits where no signal reaches it.
    impatient = os.environ | {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=impatient)
    assert done.returncode == 1, "torchrun's own"
    assert "Rank 1 failed." in done.stderr
    assert "config-1.yaml" in done.stderr
    assert done.stderr.count("Fix:") == 1


def test_a_world_size_that_does_not_fit_names_those_that_do(tmp_path):
    done = run(tmp_path, "--nproc", "3")
    assert done.returncode == 3
    assert "4 agents cannot be placed evenly on 3 ranks" in done.stderr
    assert "Fix: use 1, 2, 4, 8" in done.stderr
    assert not list(tmp_path.iterdir())


def test_more_replicas_than_questions_are_refused(tmp_path):
    done = run(tmp_path, "--nproc", "8", sets=("train.batch_size=3", "train.per_device_train_batch_size=4"))
    assert done.returncode == 3, done.stderr
    assert "3 questions, 2 replicas" in done.stderr
    assert done.stderr.count("Fix:") == 1


def test_an_error_of_the_ranks_is_told_once_with_the_name_of_one(tmp_path):
    done = run(tmp_path, "--nproc", "2", sets=("data.train=absent.jsonl",))
    assert done.returncode == 3, done.stderr
    assert "Rank " in done.stderr
    assert done.stderr.count("absent.jsonl") >= 1
    assert done.stderr.count("Fix:") == 1
    assert "Traceback" not in done.stderr


LONG = ("train.max_steps=400", "train.save_every=5")


def test_a_rank_that_is_killed_ends_the_run_with_its_name(tmp_path):
    going = Going(tmp_path, "--nproc", "4", sets=LONG)
    going.until("step 6/400")
    ranks = going.ranks()
    ranks[2].kill()
    code, said = going.end()
    assert code == 1
    assert "Rank 2 (analyst) was killed by SIGKILL." in said
    assert "step 6/400" in said, "its last lines"
    assert said.count("Fix:") == 1, said
    assert "run the same command with --resume --name run" in said
    assert not [rank for rank in ranks.values() if rank.is_running()]
    # Rank 1 has told in its log how it lost rank 2; that is no news when it is killed in the next sitting.
    again = Going(tmp_path, "--nproc", "4", "--resume", sets=LONG)
    again.until("going on from")
    again.ranks()[1].kill()
    code, said = again.end()
    assert code == 1
    assert "Rank 1 (researcher) was killed by SIGKILL." in said
    assert said.count("Fix:") == 1, said


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


@pytest.mark.parametrize("number", STOPS)
def test_a_stop_reaches_every_rank_and_leaves_a_checkpoint(tmp_path, number):
    going = Going(tmp_path, "--nproc", "2", sets=LONG)
    going.until("step 6/400")
    ranks = going.ranks()
    os.kill(going.process.pid, number)
    code, said = going.end()
    assert code == 130
    latest = (tmp_path / "run" / "checkpoints" / "latest").read_text()
    assert int(latest.removeprefix("step_")) >= 6
    assert f"the last checkpoint is {latest}" in said
    assert "Traceback" not in said
    assert not [rank for rank in ranks.values() if rank.is_running()]


def test_one_rank_that_is_asked_to_stop_is_not_started_again(tmp_path):
    going = Going(tmp_path, "--nproc", "2", "--max-restarts", "1", sets=LONG)
    going.until("step 6/400")
    going.ranks()[1].terminate()
    code, said = going.end()
    assert code == 130, said
    assert "going on from" not in said
    assert "the last checkpoint is step_" in said


def test_a_refused_overwrite_keeps_the_old_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("run: {name: run}\n")
    words = ("--nproc", "2", "--overwrite")
    assert run(tmp_path, *words, sets=("data.train=absent.jsonl",)).returncode == 3
    assert (tmp_path / "run" / "config.yaml").read_text() == "run: {name: run}\n"


def test_a_refusal_is_not_tried_again_and_leaves_nothing(tmp_path):
    done = run(tmp_path, "--nproc", "2", "--max-restarts", "3", sets=("data.train=absent.jsonl",))
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("Fix:") == 1
    assert "absent.jsonl" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_of_two_commands_for_one_run_the_refused_one_leaves_the_other_alone(tmp_path):
    commands = [Going(tmp_path, "--nproc", "2") for _ in range(2)]
    ended = dict(going.end() for going in commands)
    assert sorted(ended) == [0, 3], ended
    assert "run is being trained already" in ended[3] or "run exists" in ended[3]
    assert (tmp_path / "run" / "training_results.json").is_file()


def test_a_run_that_is_being_trained_is_refused_to_everyone_else(tmp_path):
    going = Going(tmp_path, "--nproc", "2", sets=LONG)
    going.until("step 2/400")
    for words in (("--nproc", "2", "--resume"), ("--resume",), ("--overwrite",)):
        done = run(tmp_path, *words, sets=LONG)
        assert done.returncode == 3, done.stderr
        assert "run is being trained already" in done.stderr
        assert f"process {going.ranks()[0].pid}" in done.stderr
    going.process.terminate()
    assert going.end()[0] == 130


def test_ranks_end_with_their_launcher_and_keep_what_they_learned(tmp_path):
    going = Going(tmp_path, "--nproc", "2", sets=("train.max_steps=400", "train.save_every=400"))
    going.until("step 3/400")
    ranks = going.ranks()
    going.process.kill()
    gone, alive = psutil.wait_procs(list(ranks.values()), timeout=20)
    assert (len(gone), alive) == (2, [])
    latest = (tmp_path / "run" / "checkpoints" / "latest").read_text()
    assert int(latest.removeprefix("step_")) >= 3


def test_restarted_ranks_go_on_from_the_last_checkpoint(tmp_path):
    going = Going(tmp_path, "--nproc", "2", "--max-restarts", "1", sets=("train.max_steps=12", LONG[1]))
    going.until("step 7/12")
    going.ranks()[1].kill()
    code, said = going.end()
    assert code == 0, said
    assert "going on from step 5" in said
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert steps == list(range(13))
