"""Does each agent of the trained team matter? One world × seeds of the preset `clinic`.

    python benchmarks/clinic_ablations.py --jobs 2 --out benchmarks/results/clinic_ablations.json

Two questions, each answered on the world's held-out facts, greedily and sampled:

- `randomised`: the trained team, but one teammate's turns are drawn by a coin. They stay well-formed
  and about the same case; only the agent's choice is lost.
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
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from clinic_learning import machine, train_once

from maporl_cli.agents.build import build_team
from maporl_cli.agents.policy import Policy, Sample
from maporl_cli.agents.stage import Floor
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.randomness import Greedy, Sampled, keyed_generator
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.timeline import Timeline
from maporl_cli.data.clinic.cases import CURRENT, FIELDS, SUPERSEDED, Sentence, pick
from maporl_cli.data.splits import load_split
from maporl_cli.evaluation.evaluate import evaluate
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.systems import trained_session

AGENTS = ("planner", "researcher", "analyst", "reporter")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        found = pool.map(lambda one: ablate(asked.world, one[0], one[1], asked.set), trainings)
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


class Redrawn:
    """A policy whose turns are drawn anew: well-formed and about the same case, but by a coin.

    The planner names any part of the vignette, the researcher cites any row of the evidence, the
    analyst takes either branch of the row it heard. So only the agent's choice is lost, not the form.
    """

    def __init__(self, policy: Policy, agent: str) -> None:
        self._policy = policy
        self._redraw = {"planner": any_part, "researcher": any_row, "analyst": either_branch}[agent]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def sample(self, prompts: Sequence[tuple[int, ...]], *_: Any, **options: Any) -> list[Sample]:
        """A turn a prompt, each from the prompt's own stream of random numbers."""
        texts = [self._policy.decode(prompt) for prompt in prompts]
        turns = [self._redraw(text.split(), keyed_generator("redrawn", text)) for text in texts]
        ids = [self._policy.encode_turn(turn) for turn in turns]
        return [Sample(turn, (0.0,) * len(turn), True) for turn in ids]


def any_part(words: list[str], generator: np.random.Generator) -> str:
    """The planner's prompt: task T complaint K history K takes K."""
    field = pick(generator, FIELDS)
    return f"check {words[1]} {field} {words[words.index(field) + 1]}"


def any_row(words: list[str], generator: np.random.Generator) -> str:
    """The researcher's prompt: rows of five words, whose second is a year, then the plan."""
    rows = [words[start : start + 5] for start in range(0, len(words) - 5, 5)]
    rows = list(takewhile(lambda row: row[1] in (*CURRENT, *SUPERSEDED), rows))
    return Sentence(*pick(generator, rows)).cited


def either_branch(words: list[str], generator: np.random.Generator) -> str:
    """The analyst's prompt: the chart, the plan, then the note "cite K Y first X instead Z when C"."""
    if "cite" not in words[:-9]:
        return ""  # there is no row to take a branch of
    note = words[words.index("cite") :]
    branch = pick(generator, ("first", "instead"))
    return f"{note[8]} {pick(generator, ('yes', 'no'))} {branch} {note[4 if branch == 'first' else 6]}"


def randomised(run: Path, agent: str) -> tuple[float, float]:
    """Greedy and sampled accuracy of a run's team when `agent`'s turns are drawn by a coin."""
    config = load_config(preset=None, file=run / "config.yaml", environ={}, sets=[], flags={}).config
    session = trained_session(RunDir.existing(run), config, Narrator("none"))
    policies = session.policies | {agent: Redrawn(session.policies[agent], agent)}
    team = build_team(config, policies, Floor(Timeline(), lambda: False))  # pyright: ignore[reportArgumentType]
    questions = load_split(config).eval
    greedy, sampled = (
        evaluate(
            team, questions, draws=draws, batch_size=len(questions), records=None, ranks=session.ranks
        ).accuracy
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
