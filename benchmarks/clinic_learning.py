"""Does a team learn the built-in benchmark? Worlds × seeds of the preset `clinic`, nothing tuned on them.

    python benchmarks/clinic_learning.py --out benchmarks/results/clinic_learning.json

Trains each team for the preset's fixed budget and evaluates it on its world's held-out facts. Writes
every run's accuracies, the medians and worst cases, and the machine. `--set` changes the preset, for a
quick look. The preset was chosen on worlds 100 to 105. `--jobs 2` trains two teams at once with a thread
each, which ends sooner; their `seconds` are then not those of a team that has the machine to itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--worlds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--baselines", nargs="*", default=["reporter_alone"])
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options.add_argument("--out", type=Path)
    asked = options.parse_args()
    if asked.jobs > 1:
        os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with ThreadPoolExecutor(asked.jobs) as pool:
        places = [(world, seed) for world in asked.worlds for seed in asked.seeds]
        runs = list(pool.map(lambda place: train(place[0], place[1], asked), places))
    found = {"machine": machine(), "jobs": asked.jobs, "summary": summary(runs), "runs": runs}
    print(json.dumps(found["summary"], indent=2))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "python": sys.version.split()[0],
    }


def train(world: int, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One run's accuracies and seconds, shown as soon as it ends."""
    with tempfile.TemporaryDirectory() as folder:
        run = train_once(world, seed, asked.baselines, asked.set, Path(folder))
    print(json.dumps(run), file=sys.stderr, flush=True)
    return run


def train_once(
    world: int, seed: int, baselines: Sequence[str], sets: Sequence[str], folder: Path
) -> dict[str, Any]:
    """One training in a process of its own, in `folder/run`.

    Returns:
        The accuracies of the `done` event, and `seconds`: the team's cold start and steps.
    """
    sets = [f"data.sample_seed={world}", f"eval.baselines={json.dumps(list(baselines))}", *sets]
    command = [str(Path(sys.executable).with_name("maporl")), "train", "--preset", "clinic", "--json"]
    command += ["--name", "run", "--output-dir", str(folder), "--seed", str(seed), "--display", "none"]
    command += [word for value in sets for word in ("--set", value)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    event = json.loads(done.stdout.splitlines()[-1])
    results = json.loads((folder / "run" / "training_results.json").read_text())
    return {"world": world, "seed": seed, "eval": event["eval"], "seconds": results["train_seconds"]}


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median and worst over the runs, by system."""
    found: dict[str, Any] = {"runs": len(runs)}
    for system in runs[0]["eval"]:
        greedy = [run["eval"][system]["accuracy"] for run in runs]
        sampled = [run["eval"][system]["sampled"] for run in runs]
        found[system] = {
            "greedy_median": median(greedy),
            "greedy_worst": min(greedy),
            "greedy_best": max(greedy),
            "sampled_median": median(sampled),
            "sampled_worst": min(sampled),
        }
    seconds = [run["seconds"] for run in runs]
    found["seconds"] = {"median": median(seconds), "most": max(seconds)}
    return found


if __name__ == "__main__":
    main()
