"""Does a real pretrained model learn to answer in the form asked for? The preset `smollm2` on your file.

    python benchmarks/smollm2_learning.py questions.jsonl --out benchmarks/results/smollm2_learning.json

Trains four LoRA adapters on SmolLM2-135M, with the whole machine to itself, and writes: seconds and peak
memory, the share of unreadable answers at the start and at the end of training and on the questions held
out, accuracy with its interval, how far each adapter moved, and whether a fresh process, which puts the
saved adapters on the base as it was downloaded, gives the answers that the training process gave: it
would not, had the frozen base moved. `--set` changes the preset, as in `maporl train`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from clinic_learning import machine
from safetensors.torch import load_file

MAPORL = str(Path(sys.executable).with_name("maporl"))
ENDS = 5
"""Steps that are averaged at either end of the training; a step has 8 episodes."""
ASKED_AGAIN = 16
"""Questions for the fresh process: two whole batches, so that each is padded as it was before."""


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("questions", type=Path)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options.add_argument("--out", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [MAPORL, "train", "--preset", "smollm2", "--name", "run", "--output-dir", folder]
        sets = [f"data.train={asked.questions}", *asked.set]
        command += [word for value in sets for word in ("--set", value)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        found = measured(Path(folder) / "run", peak)
    print(json.dumps(found, indent=2))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


def measured(run: Path, peak: float) -> dict[str, Any]:
    """The figures of a finished run; `peak` is its memory in GiB."""
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in steps if row["step"] > 0]
    results = json.loads((run / "training_results.json").read_text())
    seconds = [row["train:seconds"] for row in steps]
    return {
        "machine": machine(),
        "steps": len(steps),
        "minutes_of_steps": round(sum(seconds) / 60, 1),
        "seconds_a_step": {"median": round(median(seconds), 1), "most": round(max(seconds), 1)},
        "peak_memory_gib": round(peak, 2),
        "invalid_by_step": [row["train:invalid"] for row in steps],
        "invalid": {"first_steps": ends(steps[:ENDS]), "last_steps": ends(steps[-ENDS:])},
        "held_out": {when: results["eval"][when] for when in ("before", "after")},
        "adapters_moved": moved(run),
        "same_answers_on_the_base_as_downloaded": same_answers(run),
    }


def ends(steps: Sequence[dict[str, Any]]) -> float:
    return round(mean(row["train:invalid"] for row in steps), 3)


def moved(run: Path) -> dict[str, float]:
    """By agent: the largest change of any weight of its adapter since the start."""
    last = (run / "checkpoints" / "latest").read_text().strip()
    found: dict[str, float] = {}
    for folder in sorted((run / "checkpoints" / last / "agents").iterdir()):
        before, after = (
            load_file(run / "checkpoints" / step / "agents" / folder.name / "weights.safetensors")
            for step in ("step_000000", last)
        )
        found[folder.name] = max(float((after[name] - before[name]).abs().max()) for name in before)
    return found


def same_answers(run: Path) -> dict[str, int]:
    """How many of the first held-out questions a fresh process answers word for word as the run did."""
    recorded = [
        json.loads(line)["turns"]
        for line in (run / "eval" / "after.greedy.records.jsonl").read_text().splitlines()[:ASKED_AGAIN]
    ]
    command = [MAPORL, "eval", "--run", str(run), "--limit", str(ASKED_AGAIN), "--json", "--display", "none"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    records = Path(json.loads(done.stdout)["records"]).read_text().splitlines()
    again = [json.loads(line)["turns"] for line in records]
    return {
        "asked": len(recorded),
        "same": sum(one == other for one, other in zip(recorded, again, strict=True)),
    }


if __name__ == "__main__":
    main()
