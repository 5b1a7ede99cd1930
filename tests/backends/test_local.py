"""`maporl train --nproc N`: what a user of several ranks sees, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launched import BIN, LONG, Going, refused, run, stops


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


def test_the_outcome_tells_where_the_time_of_both_ranks_went(finished):
    _, done = finished
    ranks = json.loads(done.stdout)["profile"]
    assert [rank["rank"] for rank in ranks] == [0, 1]
    for rank in ranks:
        phases = rank["phases"]
        named = "setup evaluation rollout reward credit update gather results logging checkpoint".split()
        assert {*named, "cold start", "final model", "report"} < set(phases)
        assert [*phases][-1] == "other"
        assert sum(phase["seconds"] for phase in phases.values()) == pytest.approx(rank["seconds"])
        assert phases["other"]["seconds"] < 0.2 * rank["seconds"], phases
        assert 0 < phases["rollout"]["parts"]["turns"] < phases["rollout"]["seconds"]
        assert sum(phases["rollout"]["parts"].values()) == pytest.approx(phases["rollout"]["seconds"])
    # Rank 1 has nothing to do where rank 0 alone cold-starts the policies.
    cold = ranks[1]["phases"]["cold start"]
    assert cold["parts"]["waiting"] > 0.5 * cold["seconds"]


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
    # Started again, as after a failure, the rank of the next launch does not take this run for its own.
    alone = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "1"}
    words = [BIN / "torchrun", "--max-restarts", "1", "--nproc-per-node", "1", *words[2:]]
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
    error = refused(tmp_path, "--nproc", "3")
    assert error.exit_code == 3
    assert "4 agents cannot be placed evenly on 3 ranks" in error.message
    assert "Fix: use 1, 2, 4, 8" in error.message
    assert not list(tmp_path.iterdir())


def test_more_replicas_than_questions_are_refused(tmp_path):
    sets = ("train.batch_size=3", "train.per_device_train_batch_size=4")
    error = refused(tmp_path, "--nproc", "8", sets=sets)
    assert error.exit_code == 3
    assert "3 questions, 2 replicas" in error.message
    assert error.message.count("Fix:") == 1


def test_an_error_of_the_ranks_is_told_once_is_not_tried_again_and_leaves_nothing(tmp_path):
    done = run(tmp_path, "--nproc", "2", "--max-restarts", "1", sets=("data.train=absent.jsonl",))
    assert done.returncode == 3, done.stderr
    assert "Rank " in done.stderr
    assert "absent.jsonl" in done.stderr
    assert done.stderr.count("Fix:") == 1
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_refused_overwrite_keeps_the_old_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("run: {name: run}\n")
    words = ("--nproc", "2", "--overwrite")
    assert run(tmp_path, *words, sets=("data.train=absent.jsonl",)).returncode == 3
    assert (tmp_path / "run" / "config.yaml").read_text() == "run: {name: run}\n"


@pytest.mark.slow
def test_of_two_commands_for_one_run_the_refused_one_leaves_the_other_alone(tmp_path):
    commands = [Going(tmp_path, "--nproc", "2", sets=("train.max_steps=1",)) for _ in range(2)]
    ended = dict(going.end() for going in commands)
    assert sorted(ended) == [0, 3], ended
    assert "run is being trained already" in ended[3] or "run exists" in ended[3]
    assert (tmp_path / "run" / "training_results.json").is_file()


def test_a_run_that_is_being_trained_is_refused_to_everyone_else_until_it_is_asked_to_stop(tmp_path):
    going = Going(tmp_path, "--nproc", "2", sets=LONG)
    going.until("step 2/400")
    for words in (("--nproc", "2", "--resume"), ("--resume",), ("--overwrite",)):
        error = refused(tmp_path, *words, sets=LONG)
        assert error.exit_code == 3
        assert "run is being trained already" in error.message
        assert f"process {going.ranks()[0].pid}" in error.message
    stops(going, tmp_path / "run", signal.SIGTERM)
