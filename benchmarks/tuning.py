"""Does `maporl tune` find good settings of `clinic` that it was not given?

    python benchmarks/tuning.py [--trials 12] [--runs DIR]

Three commands, each of which goes on where it was if the benchmark is started again with the same --runs:

1. `maporl tune --preset clinic` as it is: it knows the space of the preset, and none of its values.
2. The same space at random, no trial stopped early: what a setting is worth that nobody looked for.
3. `maporl train --config best.yaml`: what was found, on evaluation questions that no study ever asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from clinic_learning import machine

from maporl_cli.core.run_dir import read_object

RESULT = Path(__file__).parent / "results" / "tuning.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--runs", type=Path, default=None, help="where the studies are kept")
    options = parser.parse_args()
    runs: Path = options.runs or Path(tempfile.mkdtemp(prefix="maporl-tuning-"))
    trials = ["--trials", str(options.trials)]
    searched = tune(runs, "searched", trials)
    told = {"command": "python benchmarks/tuning.py", "machine": machine(), "searched": short(searched)}
    best = searched["best"]["config"]
    train = ["train", "--config", best, "--name", "found", "--set", "eval.baselines=[]"]
    told["evaluation_questions"] = go(runs, "found", train)["eval"]["after"]
    keep(told)
    random = ["--set", "tune.strategy=random", "--set", "tune.early_stopping=false"]
    told["random"] = short(tune(runs, "random", [*trials, *random, "--set", "tune.confirm_seeds=0"]))
    keep(told)


def tune(runs: Path, name: str, words: list[str]) -> dict[str, Any]:
    return go(runs, name, ["tune", "--preset", "clinic", "--name", name, *words])


def go(runs: Path, name: str, words: list[str]) -> dict[str, Any]:
    """The event that the command ends with; one that was stopped goes on."""
    place = ["--output-dir", str(runs), "--json", "--display", "none"]
    resume = (
        ["--resume"] if any((runs / name / file).exists() for file in ("study.yaml", "config.yaml")) else []
    )
    began = time.time()
    command = [str(Path(sys.executable).parent / "maporl"), *words, *place, *resume]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    event = json.loads(done.stdout.splitlines()[-1])
    return {**event, "this_sitting_seconds": time.time() - began}


def short(study: dict[str, Any]) -> dict[str, Any]:
    """A study without its paths."""
    keys = ("tuning_questions", "median", "importance", "this_sitting_seconds")
    best = {key: study["best"][key] for key in ("trial", "value", "values", "seeds", "mean", "ci95")}
    kept = ("trial", "state", "value", "values", "on_the_way", "seconds")
    trials = [{key: trial[key] for key in kept} for trial in study["trials"]]
    return {"best": best, **{key: study[key] for key in keys}, "trials": trials}


def keep(told: dict[str, Any]) -> None:
    RESULT.write_text(json.dumps({**read_object(RESULT), **told}, indent=1) + "\n")
    shown = {key: value for key, value in told.items() if key != "machine"}
    print(json.dumps(shown, indent=1), flush=True)


if __name__ == "__main__":
    main()
