"""Two ranks on two cores against one on one core: how much of the speed-up that the split allows is reached?

    python benchmarks/two_ranks.py FILE_OF_QUESTIONS

trains the preset `smollm2` on the file for a few steps of eight questions in eight microbatches (a group of
four turns at a time, as the preset's memory allows), on one rank and on two, each with one thread and a core.
All play the same episodes, so a step's seconds can be compared with the same step's. The split allows (all
agents' work) ÷ (the larger rank's work), in seconds of turns and updates as the run on one rank measured
them. One rank is also timed without microbatches, which it has no need of. The first step of each run,
which warms up, is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from clinic_learning import machine

from maporl_cli.monitoring.jsonl import read_metrics
from maporl_cli.training.placement import place

TEAM = ("planner", "researcher", "analyst", "reporter")
RESULT = Path(__file__).parent / "results" / "two_ranks.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--microbatches", type=int, default=8)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = asked.microbatches
        runs = ((1, parts), (2, parts), (1, 1))
        one, two, whole = (train(Path(folder), nproc, count, asked) for nproc, count in runs)
        work = work_of_agents(Path(folder) / f"ranks-1-{parts}" / "profile.json")
    larger = max(sum(work[agent] for agent in rank.agents) for rank in place(TEAM, 2).ranks)
    allowed = sum(work.values()) / larger
    speed_up = faster(one, two)
    found = {
        "command": f"python benchmarks/two_ranks.py FILE --questions {asked.questions} "
        f"--microbatches {asked.microbatches}",
        "machine": machine(),
        "preset": "smollm2",
        "seconds_a_step": {"one": one, "two": two, "one without microbatches": whole},
        "work_of_agents": dict(work),
        "allowed": allowed,
        "speed_up": speed_up,
        "share_of_allowed": speed_up / allowed,
        "speed_up_over_one_without_microbatches": faster(whole, two),
    }
    print(json.dumps(found, indent=1))
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


def faster(before: list[float], after: list[float]) -> float:
    """How many times, the median over steps."""
    return median(first / second for first, second in zip(before, after, strict=True))


def train(folder: Path, nproc: int, microbatches: int, asked: argparse.Namespace) -> list[float]:
    """Seconds of each step but the first."""
    name = f"ranks-{nproc}-{microbatches}"
    words = ["train", "--preset", "smollm2", "--nproc", str(nproc), "--name", name, "--profile"]
    words += ["--output-dir", str(folder), "--display", "plain"]
    sets = [
        f"data.train={asked.file}",
        "data.allow_test_set=true",
        "data.max_eval_samples=1",
        f"train.max_steps={asked.steps}",
        f"rollout.microbatches={microbatches}",
        f"train.batch_size={asked.questions}",
    ]
    for value in sets:
        words += ["--set", value]
    maporl = str(Path(sys.executable).with_name("maporl"))
    # One core each: a process of one thread still moves between cores, which costs it its caches.
    cores = ["taskset", "-c", ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:nproc])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*cores, maporl, *words], check=True, env=environment, stdout=subprocess.DEVNULL)
    rows = read_metrics(folder / name / "metrics.jsonl")
    return [row["train:seconds"] for row in rows if row["step"] > 1]


def work_of_agents(profile: Path) -> dict[str, float]:
    """Seconds that each agent spoke and learned after the first step, evaluations left out."""
    events: list[dict[str, Any]] = json.loads(profile.read_text())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    rollouts = [span for span in spans if span["name"] == "rollout" and span["args"]["step"] > 1]
    work: defaultdict[str, float] = defaultdict(float)
    for span in spans:
        speaks = span["cat"] == "turns" and any(
            rollout["ts"] <= span["ts"] <= rollout["ts"] + rollout["dur"] for rollout in rollouts
        )
        if speaks or (span["cat"] == "update" and span["args"]["step"] > 1):
            work[span["name"]] += span["dur"] / 1e6
    return work


if __name__ == "__main__":
    main()
