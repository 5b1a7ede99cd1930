"""kill -9 at random moments: every resume goes on, and the run ends where an undisturbed one does.

Slow: `make test-slow`, or `pytest -m slow tests/worker/test_kills.py -s` to see where each kill struck.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from small_runs import PAYING_FOR_IDS

from maporl_cli.training.checkpoint import Checkpoints

KILLS = 20
SETS = [
    "data.max_train_samples=60",
    "data.max_eval_samples=24",
    "train.max_steps=24",
    "train.batch_size=4",
    "rollout.group_size=4",
    "train.per_device_train_batch_size=16",
    "train.save_every=2",
    "train.kl_coeff=0.05",
    "train.cold_start.copy_steps=10",
    "train.cold_start.role_steps=60",
    "train.cold_start.batch_size=8",
    "eval.baselines=[reporter_alone]",
    "eval.batch_size=8",
]


def command(folder: Path, name: str) -> list[str]:
    maporl = str(Path(sys.executable).with_name("maporl"))
    resume = ["--resume"] if (folder / name / "config.yaml").exists() else []
    plugin = [f"run.plugins=[{folder / 'ids.py'}]", "reward.extra_weights={ids: 1}"]
    sets = [word for value in (*SETS, *plugin) for word in ("--set", value)]
    words = ["train", "--preset", "clinic", "--name", name, "--output-dir", str(folder), "--display", "plain"]
    return [maporl, *words, *sets, *resume]


def run_to_its_end(folder: Path, name: str) -> None:
    done = subprocess.run(command(folder, name), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


def run_and_kill(folder: Path, name: str, lines: int, seconds: float) -> str | None:
    """Kill a training after it said so many lines and so many seconds more; None: it had ended by then."""
    process = subprocess.Popen(
        command(folder, name), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    enough = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.rstrip())
            if len(said) >= lines:
                enough.set()
        enough.set()

    listener = threading.Thread(target=listen)
    listener.start()
    enough.wait(timeout=300)
    time.sleep(seconds)
    process.kill()
    code = process.wait()
    listener.join()
    if code == 0:
        return None
    assert code == -9, "\n".join(said[-20:])  # nothing else than the kill ended it
    return said[-1] if said else "before it said anything"


def learned(run: Path) -> dict[str, bytes]:
    """Everything that a run is for: final weights of team and baseline, and what was measured."""
    files = [*run.glob("**/final_model/*/model.safetensors"), *run.glob("**/eval/*.records.jsonl")]
    files += [*run.glob("**/episodes/*.jsonl"), *run.glob("checkpoints/step_000024/agents/*/*")]
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(files)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_change_nothing(tmp_path: Path):
    (tmp_path / "ids.py").write_text(PAYING_FOR_IDS)
    run_to_its_end(tmp_path, "undisturbed")
    rows = [json.loads(line) for line in (tmp_path / "undisturbed" / "metrics.jsonl").open()]
    assert sum(row.get("planner:grad_norm", 0) > 0 for row in rows) > 20  # or a lost optimizer went unseen
    expected = learned(tmp_path / "undisturbed")
    assert len([name for name in expected if "final_model" in name]) == 5
    chance = random.Random(0)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        name = f"killed-{runs}"
        # A few lines at a time, so that one run is killed again and again before it ends.
        while kills < KILLS:
            lines, seconds = chance.randint(1, 8), chance.uniform(0, 0.5)
            struck = run_and_kill(tmp_path, name, lines, seconds)
            if struck is None:
                break  # it ended undisturbed this time; the next kills get a run of their own
            kills += 1
            checkpoints = tmp_path / name / "checkpoints"
            whole = Checkpoints(checkpoints, keep=2).latest() if checkpoints.exists() else None
            print(f"kill {kills} of {name}: after {struck!r}; newest whole checkpoint {whole and whole.name}")
        run_to_its_end(tmp_path, name)
        found = learned(tmp_path / name)
        assert found.keys() == expected.keys()
        assert [file for file in expected if found[file] != expected[file]] == []
        steps = [json.loads(line)["step"] for line in (tmp_path / name / "metrics.jsonl").open()]
        assert steps == list(range(25))
        assert not list((tmp_path / name).rglob(".*-*"))  # nothing half-written is left lying about
