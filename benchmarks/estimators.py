"""Which estimator, credit rule and sampling learn best? Every one of them on `clinic`, at equal tokens.

    python benchmarks/estimators.py [--jobs 2]

Each case trains the preset `clinic` with seeds 0, 1 and 2, for as many steps as generate as many turns as the
preset's own 240 steps do, those of counterfactual episodes included. Tokens in the results are all that were
read and generated. A run is kept in the results file as soon as it ends, and is not repeated: the benchmark
can be stopped and gone on with. The first cases change one thing of the default at a time, the rest cross
them.

Steps and seconds to 75 % are where the mean training accuracy of five steps first reached it; seconds are
wall-clock, so those of a run beside another say little. `influence` is left out: in the preset's one round
nobody can change an answer, so it is `team`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median
from threading import Lock
from typing import Any

from clinic_learning import machine, train_once

from maporl_cli.core.run_dir import RunDir
from maporl_cli.monitoring.jsonl import read_metrics

RESULT = Path(__file__).parent / "results" / "estimators.json"
AGENTS, STEPS, SEEDS = 4, 240, (0, 1, 2)
ENOUGH, OVER = 0.75, 5
"""The accuracy that counts as learned, and the steps it is averaged over."""
ESTIMATORS = {
    "rloo": [],
    "grpo": [],
    "dr_grpo": [],
    "reinforce_pp": [],
    "reinforce_pp_baseline": [],
    "maporl_ppo": [],
}
CREDITS = ("team", "maporl", "leave_one_out", "potential")
GROUP = {"chain": 8, "comb": 4}
"""Episodes of a group, so that a question costs about as many turns either way."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to learn."""

    estimator: str
    credit: str
    sampling: str

    @property
    def turns(self) -> int:
        """Turns that are generated for a question in one step."""
        group, after = GROUP[self.sampling], AGENTS * (AGENTS - 1) // 2
        if self.sampling == "comb":
            return AGENTS + (group - 1) * (AGENTS + after)
        return group * (AGENTS + (after if self.credit == "leave_one_out" else 0))

    @property
    def steps(self) -> int:
        """As many as cost what the default's do."""
        return round(STEPS * Case("rloo", "team", "chain").turns / self.turns)

    def sets(self) -> list[str]:
        """What is changed of the preset."""
        values = {
            "train.algorithm": self.estimator,
            "train.credit": self.credit,
            "train.max_steps": self.steps,
            "rollout.sampling": self.sampling,
            "rollout.group_size": GROUP[self.sampling],
            "train.per_device_train_batch_size": 64,
        }
        return [*(f"{key}={value}" for key, value in values.items()), *ESTIMATORS[self.estimator]]


def cases() -> Iterator[Case]:
    """All that can be put together, those that change one thing first."""
    crossed = [
        Case(*names)
        for names in product(ESTIMATORS, CREDITS, GROUP)
        if names[1:] != ("leave_one_out", "comb")  # a tooth of a comb has its own counterfactual beside it
    ]
    plain = Case("rloo", "team", "chain")
    return iter(sorted(crossed, key=lambda case: _changes(case, plain)))


def _changes(case: Case, plain: Case) -> int:
    """How much of the default is changed."""
    pairs = [
        (case.estimator, plain.estimator),
        (case.credit, plain.credit),
        (case.sampling, plain.sampling),
    ]
    return sum(one != other for one, other in pairs)


def run(case: Case, seed: int) -> dict[str, Any]:
    """One training of a case."""
    with tempfile.TemporaryDirectory() as folder:
        found = train_once(0, seed, [], case.sets(), Path(folder))
        home = RunDir(Path(folder) / "run")
        rows = [row for row in read_metrics(home.metrics) if row["step"] > 0]
        tokens = json.loads(home.results.read_text())["train_tokens"]
    accuracies = [row["train:accuracy"] for row in rows]
    ends = [end for end in range(OVER, len(rows) + 1) if fmean(accuracies[end - OVER : end]) >= ENOUGH]
    reached = ends[0] if ends else None
    return {
        "estimator": case.estimator,
        "credit": case.credit,
        "sampling": case.sampling,
        "seed": seed,
        "steps": case.steps,
        "tokens": tokens,
        "steps_to_75": reached,
        "seconds_to_75": None if reached is None else sum(row["train:seconds"] for row in rows[:reached]),
        "seconds": found["seconds"],
        "greedy": found["eval"]["after"]["accuracy"],
        "sampled": found["eval"]["after"]["sampled"],
    }


def table(runs: Sequence[dict[str, Any]]) -> str:
    """A row a case, in Markdown: median (lowest to highest) over the seeds."""
    lines = [
        "| estimator | credit | sampling | seeds | greedy | sampled | steps to 75 % | seconds to it "
        "| tokens, 10⁶ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases():
        own = [one for one in runs if _of(one) == case]
        if own:
            tokens = median(one["tokens"] for one in own) / 1e6
            cells = [case.estimator, case.credit, case.sampling, str(len(own))]
            cells += [_spread([one[kind] for one in own], 3) for kind in ("greedy", "sampled")]
            cells += [_reached(own, kind) for kind in ("steps_to_75", "seconds_to_75")]
            lines.append(f"| {' | '.join([*cells, f'{tokens:.2f}'])} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _reached(runs: Sequence[dict[str, Any]], kind: str) -> str:
    """What it took, or how many of the runs got there."""
    took = [one[kind] for one in runs if one[kind] is not None]
    return _spread(took, 0) if len(took) == len(runs) else f"{len(took)} of {len(runs)}"


def _of(run: dict[str, Any]) -> Case:
    return Case(run["estimator"], run["credit"], run["sampling"])


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--out", type=Path, default=RESULT)
    asked = options.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    there = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else []
    done = {(_of(one), one["seed"]) for one in there}
    missing = [(case, seed) for case in cases() for seed in SEEDS if (case, seed) not in done]
    keeping = Lock()

    def keep(place: tuple[Case, int]) -> None:
        found = run(*place)
        print(json.dumps(found), file=sys.stderr, flush=True)
        with keeping:
            there.append(found)
            content = {"command": "python benchmarks/estimators.py", "machine": machine(), "runs": there}
            asked.out.write_text(json.dumps(content, indent=1) + "\n")

    with ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(keep, missing))
    print(table(there))


if __name__ == "__main__":
    main()
