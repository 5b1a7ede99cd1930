"""kill -9 of any one rank, ten times in a row.

Slow: `make test-slow`, or `pytest -m slow tests/backends/test_rank_kills.py -s` to see where each struck.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import psutil
import pytest
from launched import Going, run
from small_runs import PAYING_FOR_IDS

from maporl_cli.training.checkpoint import _is_whole

KILLS = 10
STEPS = 24
TEAM = ("planner", "researcher", "analyst", "reporter")


def sets(folder: Path) -> tuple[str, ...]:
    plugin = [f"run.plugins=[{folder / 'ids.py'}]", "reward.extra_weights={ids: 1}"]
    return (f"train.max_steps={STEPS}", "train.per_device_train_batch_size=4", "train.kl_coeff=0.05", *plugin)


def learned(run: Path) -> dict[str, bytes]:
    files = [*run.glob("final_model/*/model.safetensors"), *run.glob("eval/*.records.jsonl")]
    files += [*run.glob("episodes/*.jsonl"), *run.glob(f"checkpoints/step_{STEPS:06d}/agents/*/*")]
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(files)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_ranks_killed_one_after_the_other_change_nothing(tmp_path: Path):
    (tmp_path / "ids.py").write_text(PAYING_FOR_IDS)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(whole, "--nproc", "1", sets=sets(tmp_path)).returncode == 0
    expected = learned(whole / "run")
    chance = random.Random(0)
    kills = 0
    while kills < KILLS:
        began = (broken / "run" / "config.yaml").exists()
        going = Going(broken, "--nproc", "4", *(["--resume"] if began else []), sets=sets(tmp_path))
        lines, seconds = chance.randint(1, 8), chance.uniform(0, 0.5)
        while len(going.said) < lines and going.process.poll() is None:
            time.sleep(0.02)
        time.sleep(seconds)
        ranks = going.ranks() if going.process.poll() is None else {}
        victim = chance.choice(range(4))
        if victim in ranks:
            ranks[victim].kill()
        code, said = going.end()
        if code == 0:  # it ended before the kill; the next one gets a run of its own
            assert learned(broken / "run") == expected
            broken = tmp_path / f"broken-{kills}"
            continue
        kills += 1
        print(f"kill {kills}: rank {victim} after {lines} lines; {said.splitlines()[-1][:60]}")
        assert code == 1, said
        assert f"Rank {victim} ({TEAM[victim]}) was killed by SIGKILL." in said
        assert said.count("Fix:") == 1, said
        assert not [rank for rank in ranks.values() if rank.is_running()]
        for path in (broken / "run" / "checkpoints").glob("step_*"):
            assert _is_whole(path), f"{path.name} has its name, which only a whole checkpoint gets"
    done = run(broken, "--nproc", "4", "--resume", sets=sets(tmp_path))
    assert done.returncode == 0, done.stderr
    assert learned(broken / "run") == expected
    steps = [json.loads(line)["step"] for line in (broken / "run" / "metrics.jsonl").open()]
    assert steps == list(range(STEPS + 1))
    assert not list(broken.rglob(".*-*")), "nothing half-written is left lying about"
    assert not [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(broken) in " ".join(process.info["cmdline"] or ())
    ]
