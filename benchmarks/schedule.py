"""How much of a rollout do ranks wait? Sleeping policies, so that only the schedule is measured.

    python benchmarks/schedule.py

trains a team of four sleepers, all equally slow, on 2, 4 and 8 ranks with one microbatch (the naive
order, in which one agent speaks while the others wait) and with more. `idle` is the mean over ranks of
the share of the rollout in which a rank's agents do not speak, as `train:idle` in a run's metrics;
`ideal` is (agents - 1) / (microbatches + agents - 1) for a rank an agent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from clinic_learning import machine

from maporl_cli.monitoring.jsonl import read_metrics

HERE = Path(__file__).parent
RESULT = HERE / "results" / "schedule.json"
CASES = ((2, 1), (2, 16), (4, 1), (4, 4), (4, 16), (4, 32), (8, 16))


def train(folder: Path, nproc: int, microbatches: int, call: float, steps: int) -> list[dict[str, Any]]:
    """The metrics of each step of a training of sleepers, the first left out: it starts everything up."""
    replicas = max(1, nproc // 4)
    sets = [
        f"run.plugins=[{HERE / 'sleeper.py'}]",
        "model.name=sleeper",
        "reward.extra_weights={chance: 1}",
        "train.kl_coeff=0",
        "eval.baselines=[]",
        "data.max_eval_samples=1",
        f"train.max_steps={steps + 1}",
        f"train.batch_size={32 * replicas}",
        "rollout.group_size=2",
        "train.per_device_train_batch_size=64",
        f"rollout.microbatches={microbatches}",
    ]
    name = f"{nproc}-ranks-{microbatches}-microbatches"
    words = ["train", "--nproc", str(nproc), "--name", name, "--output-dir", str(folder), "--display", "none"]
    for value in sets:
        words += ["--set", value]
    maporl = Path(sys.executable).with_name("maporl")
    environment = os.environ | {"SLEEPER_CALL": str(call), "OMP_NUM_THREADS": "1"}
    subprocess.run([maporl, *words], check=True, env=environment, stdout=subprocess.DEVNULL)
    return [row for row in read_metrics(folder / name / "metrics.jsonl") if row["step"] > 1]


def case(folder: Path, nproc: int, microbatches: int, call: float, steps: int) -> dict[str, Any]:
    rows = train(folder, nproc, microbatches, call, steps)
    idle = [row["train:idle"] for row in rows]
    return {
        "ranks": nproc,
        "microbatches": microbatches,
        "idle": median(idle),
        "idle_least": min(idle),
        "idle_most": max(idle),
        "ideal": 3 / (microbatches + 3) if nproc >= 4 else None,
        "steps": len(idle),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--call", type=float, default=0.5, help="seconds that a turn on a microbatch takes")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for nproc, microbatches in CASES:
            rows.append(case(Path(folder), nproc, microbatches, options.call, options.steps))
            print(json.dumps(rows[-1]), flush=True)
    options.out.parent.mkdir(exist_ok=True)
    told = {"command": "python benchmarks/schedule.py", "machine": machine(), "seconds_a_turn": options.call}
    options.out.write_text(json.dumps(told | {"cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
