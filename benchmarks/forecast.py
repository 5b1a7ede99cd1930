"""Does the forecast of `--dry-run --world-size N` come true? Measured against runs of 1, 2, 4 and 8 ranks.

    python benchmarks/forecast.py [--file FILE_OF_QUESTIONS] [--case clinic]

The preset `clinic` is trained on one rank with `--profile`, and the forecast from those rates compared with
another run of one rank, of other questions in other microbatches, and with one on two ranks, each with one
thread; then the rates of these two ranks with another run of two, again of other questions. This is repeated,
as a neighbor on the machine may take half of a core for minutes. The runs of one rank are made in pairs, side
by side: a core is slower while the one beside it works, as it does in a run of two ranks. The same with
policies that sleep instead of computing (`sleeper.py`), on four and eight ranks: there the schedule alone
decides; and, where a file is given, with the preset `smollm2` on two. Times are medians over steps, the first
left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from clinic_learning import machine

from maporl_cli.core.run_dir import RunDir
from maporl_cli.monitoring.jsonl import read_metrics
from maporl_cli.training.forecast import forecast
from maporl_cli.training.placement import place
from maporl_cli.training.rates import Rates

HERE = Path(__file__).parent
RESULT = HERE / "results" / "forecast.json"
# Microbatches of two and of three questions tell the cost of a call from that of a row. And the estimator
# learns from every group: dead ones grow fewer while a team learns, which gives every step more to do.
CLINIC = ["data.max_eval_samples=8", "rollout.microbatches=6", "train.algorithm=reinforce_pp"]
AGAIN = {
    "clinic": ["run.seed=1", "rollout.microbatches=4"],
    "sleepers": ["run.seed=1"],
    "smollm2": ["run.seed=1"],
}
SMOLLM2 = ["data.allow_test_set=true", "data.max_eval_samples=1", "rollout.microbatches=4"]
SLEEPERS = [
    f"run.plugins=[{HERE / 'sleeper.py'}]",
    "model.name=sleeper",
    "reward.extra_weights={chance: 1}",
    "train.kl_coeff=0",
    "data.max_eval_samples=1",
    "train.batch_size=40",  # again microbatches of two and of three questions
    "rollout.group_size=2",
    "train.per_device_train_batch_size=8",
    "rollout.microbatches=16",
]


def train(folder: Path, name: str, nproc: int, steps: int, sets: list[str]) -> subprocess.Popen[bytes]:
    """A run that has begun."""
    words = ["train", "--nproc", str(nproc), "--name", f"{name}-{nproc}", "--output-dir", str(folder)]
    words += ["--profile", "--display", "none", "--set", "eval.baselines=[]"]
    words += ["--preset", "smollm2"] if name.startswith("smollm2") else []
    for value in [f"train.max_steps={steps + 1}", *sets]:
        words += ["--set", value]
    maporl = Path(sys.executable).with_name("maporl")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SLEEPER_CALL": "0.2", "SLEEPER_ROW": "0.05"}
    return subprocess.Popen([maporl, *words], env=environment, stdout=subprocess.DEVNULL)


def trained(folder: Path, nproc: int, steps: int, *runs: tuple[str, list[str]]) -> list[RunDir]:
    """Runs made side by side."""
    begun = [train(folder, name, nproc, steps, sets) for name, sets in runs]
    if any(run.wait() for run in begun):
        raise SystemExit("a run failed")
    return [RunDir(folder / f"{name}-{nproc}") for name, _ in runs]


def compare(name: str, run: RunDir, rates: Rates) -> dict[str, Any]:
    """What was predicted and what was measured of a run."""
    config = run.load_config()
    ranks = json.loads(run.manifest.read_text())["topology"]["world_size"]
    told = forecast(config, place([seat.name for seat in config.team.agents], ranks), rates)
    rows = [row for row in read_metrics(run.metrics) if row["step"] > 1]
    measured = median(row["train:seconds"] for row in rows)
    idle = median(row.get("train:idle", 0.0) for row in rows)
    found = {
        "case": name,
        "ranks": ranks,
        "predicted_seconds": told.seconds,
        "measured_seconds": measured,
        "seconds_of_steps": [row["train:seconds"] for row in rows],
        "ratio": told.seconds / measured,
        "predicted_idle": told.idle,
        "measured_idle": idle,
    }
    print(json.dumps(found), flush=True)
    return found


def forecasts(
    folder: Path, name: str, sizes: tuple[int, ...], steps: int, sets: list[str]
) -> list[dict[str, Any]]:
    """Two runs on one rank, and what the rates of one foretell of the other, and of runs on more."""
    other = f"{name}-again", [*sets, *AGAIN[name]]
    measured, again = trained(folder, 1, steps, (name, sets), other)
    rates = Rates.measured(measured.profile)
    cases = [compare(name, again, rates)]
    several = [run for size in sizes for run in trained(folder, size, steps, (name, sets))]
    cases += [compare(name, run, rates) for run in several]
    if name == "clinic":
        (two,) = several
        (fresh,) = trained(folder, 2, steps, other)
        cases.append(compare("clinic from two ranks", fresh, Rates.measured(two.profile)))
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3, help="of clinic")
    parser.add_argument("--file", type=Path, help="also the preset smollm2, on these questions")
    parser.add_argument("--case", choices=list(AGAIN), help="this one alone; the file keeps the others")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    file = [] if asked.file is None else [("smollm2", (2,), 2, [*SMOLLM2, f"data.train={asked.file}"])]
    rounds = [("sleepers", (4, 8), 2, SLEEPERS), *asked.repeats * [("clinic", (2,), 40, CLINIC)], *file]
    rounds = [one for one in rounds if asked.case in (None, one[0])]
    kept = json.loads(asked.out.read_text())["cases"] if asked.case and asked.out.exists() else []
    cases: list[dict[str, Any]] = [one for one in kept if not one["case"].startswith(asked.case or "")]
    for name, sizes, steps, sets in rounds:
        with tempfile.TemporaryDirectory() as folder:
            cases += forecasts(Path(folder), name, sizes, steps, sets)
    found = {"command": "python benchmarks/forecast.py", "machine": machine(), "cases": cases}
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
