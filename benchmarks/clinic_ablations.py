"""Does each agent of the trained team matter? One world × seeds of the preset `clinic`.

    python benchmarks/clinic_ablations.py --jobs 2 --out benchmarks/results/clinic_ablations.json

Two questions, each answered on the world's held-out facts, greedily and sampled:

- `randomised`: the trained team, but one teammate's turns are dealt to other questions. They stay
  well-formed and as likely as before; only what they say of *this* question is lost.
- `untrained`: a team trained as long, in which one agent keeps its cold-started policy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from clinic_learning import machine, train_once

from maporl_cli.agents.build import build_team
from maporl_cli.agents.policy import Policy, Sample
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.randomness import Greedy, Sampled
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.splits import load_split
from maporl_cli.evaluation.evaluate import evaluate
from maporl_cli.worker.evaluate import trained_session
from maporl_cli.worker.narrator import Narrator

AGENTS = ("planner", "researcher", "analyst", "reporter")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--world", type=int, default=0)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--jobs", type=int, default=1)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options.add_argument("--out", type=Path)
    asked = options.parse_args()
    began = time.monotonic()
    if asked.jobs > 1:
        os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        torch.set_num_threads(1)
    with ThreadPoolExecutor(asked.jobs) as pool:
        trainings = [(seed, idle) for seed in asked.seeds for idle in ("", *AGENTS)]
        found = pool.map(lambda training: ablate(asked.world, *training, asked.set), trainings)
        rows = [row for part in found for row in part]
    result = {
        "machine": machine(),
        "jobs": asked.jobs,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "world": asked.world,
        "summary": summary(rows),
        "rows": rows,
    }
    print(json.dumps(result["summary"], indent=2))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(result, indent=2) + "\n")


def ablate(world: int, seed: int, idle: str, sets: Sequence[str]) -> list[dict[str, Any]]:
    """One training without the agent `idle`; where all learn, each message randomised too."""
    rows: list[dict[str, Any]] = []

    def note(what: str, agent: str, greedy: float, sampled: float) -> None:
        rows.append({"seed": seed, "what": what, "agent": agent, "greedy": greedy, "sampled": sampled})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)

    sets = [*sets, f"team.agents={seats_with_one_untrained(idle)}"]
    with tempfile.TemporaryDirectory() as folder:
        after = train_once(world, seed, [], sets, Path(folder))["eval"]["after"]
        note("untrained" if idle else "whole", idle, after["accuracy"], after["sampled"])
        if not idle:
            for agent in AGENTS[:-1]:
                note("randomised", agent, *randomised(Path(folder) / "run", agent))
    return rows


def seats_with_one_untrained(agent: str) -> str:
    """The preset's seats, as `--set` takes them, with `agent` left at its start."""
    seats = load_config(preset="clinic", file=None, environ={}, sets=[], flags={}).config.team.agents
    changed = [seat.model_copy(update={"trained": seat.name != agent}) for seat in seats]
    return json.dumps([seat.model_dump(exclude_none=True) for seat in changed])


class Dealt:
    """A policy whose turns go to other questions of the batch: every row gets another row's turn."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def sample(self, prompts: Sequence[tuple[int, ...]], *rest: Any, **options: Any) -> list[Sample]:
        """As the policy's own, then dealt on by a random number of places, the same for all rows."""
        said = self._policy.sample(prompts, *rest, **options)
        places = int(np.random.default_rng(len(said)).integers(1, len(said)))
        return [*said[places:], *said[:places]]


def randomised(run: Path, agent: str) -> tuple[float, float]:
    """Greedy and sampled accuracy of a run's team when `agent`'s turns are dealt to other questions."""
    config = load_config(preset=None, file=run / "config.yaml", environ={}, sets=[], flags={}).config
    session = trained_session(RunDir.existing(run), config, Narrator("none"))
    policies = session.policies | {agent: Dealt(session.policies[agent])}
    team = build_team(config, policies)  # pyright: ignore[reportArgumentType]
    questions = load_split(config).eval
    greedy, sampled = (
        evaluate(team, questions, draws=draws, batch_size=len(questions), records=None).accuracy
        for draws in (Greedy(), Sampled(config.run.seed))
    )
    return greedy, sampled


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By ablation: the median accuracy, and the median cost against the whole team of the same seed."""
    whole = {row["seed"]: row for row in rows if row["what"] == "whole"}
    found: dict[str, Any] = {"whole": {m: median(row[m] for row in whole.values()) for m in MODES}}
    for what in ("randomised", "untrained"):
        for agent in AGENTS:
            here = [row for row in rows if (row["what"], row["agent"]) == (what, agent)]
            if here:
                found[f"{what} {agent}"] = {
                    **{mode: median(row[mode] for row in here) for mode in MODES},
                    **{
                        f"{mode}_cost": median(whole[row["seed"]][mode] - row[mode] for row in here)
                        for mode in MODES
                    },
                    **{
                        f"{mode}_cost_least": min(whole[row["seed"]][mode] - row[mode] for row in here)
                        for mode in MODES
                    },
                }
    return found


MODES = ("greedy", "sampled")


if __name__ == "__main__":
    main()
