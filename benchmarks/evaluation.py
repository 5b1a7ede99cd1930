"""How long does an evaluation take, what of it is not generation, and are its figures true?

    python benchmarks/evaluation.py tiny [--steps N]
    python benchmarks/evaluation.py smollm2 FILE_OF_QUESTIONS [--limit N]

`tiny` trains the preset `clinic` and its `single`, then asks 1,000 fresh questions of the benchmark: the
seconds of the whole command for the team alone, and for all systems and checks. Then it asks the same
questions with gold letters that were permuted at random: every system has to fall to chance.

`smollm2` asks an untrained team of SmolLM2-135M, one agent alone and its votes at equal tokens about real
questions, and tells the share of the time that is not spent in generation (once the models are loaded), and
what was found, whichever wins.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clinic_learning import machine, train_once

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.types import Question
from maporl_cli.data.clinic.cases import TASKS
from maporl_cli.data.clinic.facts import load
from maporl_cli.data.clinic.world import cases, split_facts
from maporl_cli.data.writing import write_questions
from maporl_cli.worker import Request, evaluate_run
from maporl_cli.worker.systems import Systems

RESULT = Path(__file__).parent / "results" / "evaluation.json"
MAPORL = str(Path(sys.executable).with_name("maporl"))
QUESTIONS = 1000
WORLD = 0


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("team", choices=("tiny", "smollm2"))
    options.add_argument("file", type=Path, nargs="?")
    options.add_argument("--steps", type=int, default=240)
    options.add_argument("--limit", type=int)
    options.add_argument("--out", type=Path, default=RESULT)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.team == "tiny":
            found = tiny(Path(folder), asked.steps)
        else:
            found = smollm2(asked.file.resolve(), asked.limit, Path(folder))
    print(json.dumps(found, indent=1))
    there = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    name = asked.team if asked.file is None else f"{asked.team}, {asked.file.name}"
    asked.out.write_text(json.dumps(there | {name: {"machine": machine(), **found}}, indent=1) + "\n")


def tiny(folder: Path, steps: int) -> dict[str, Any]:
    """A trained tiny team on questions of its world that it never met."""
    train_once(WORLD, 0, ["single"], [f"train.max_steps={steps}"], folder)
    questions = fresh()
    right, permuted = folder / "fresh.jsonl", folder / "permuted.jsonl"
    write_questions(right, questions)
    write_questions(permuted, shuffled_gold(questions))
    team, seconds = timed(folder / "run", right, "--baselines", "none", "--checks", "none")
    whole, whole_seconds = timed(folder / "run", right)
    chance, _ = timed(folder / "run", permuted, "--checks", "none")
    return {
        "questions": len(questions),
        "seconds_of_the_team_alone": seconds,
        "seconds_of_all_systems_and_checks": whole_seconds,
        "accuracy": team["accuracy"],
        "systems": systems(whole),
        "with_permuted_labels": {"chance": chance["chance"], **systems(chance)},
    }


def fresh() -> list[Question]:
    """Cases about the facts that the world holds out, which are none of its own evaluation."""
    _, held_out = split_facts(WORLD)
    known = tuple(load().by_task(task) for task in TASKS)
    return [case.question(name) for name, case in cases(WORLD, "fresh", held_out, known, QUESTIONS)]


def shuffled_gold(questions: list[Question]) -> list[Question]:
    chance = random.Random(0)
    return [replace(question, answer=chance.choice(list(question.options))) for question in questions]


def smollm2(file: Path, limit: int | None, folder: Path) -> dict[str, Any]:
    """An untrained team of a real model on real questions, and what of the time is not generation."""
    config = load_config(preset="smollm2", file=None, environ={}, sets=[], flags={}).config
    request = Request(data=file, limit=limit, baselines=("single", "majority"))
    os.chdir(folder)
    with measured(CausalPolicy, "sample") as sampling, measured(Systems, "open") as loading:
        began = time.monotonic()
        found = evaluate_run(config, request, display="plain")
        seconds = time.monotonic() - began - loading[0]
    return {
        "questions": found["n"],
        "seconds_without_loading": round(seconds, 1),
        "share_that_is_not_generation": round(1 - sampling[0] / seconds, 4),
        "chance": found["chance"],
        "systems": systems(found),
    }


@contextmanager
def measured(kind: type, method: str) -> Iterator[list[float]]:
    """The seconds that are spent in a method meanwhile."""
    spent, original = [0.0], getattr(kind, method)

    def timed(*given: Any, **named: Any) -> Any:
        began = time.monotonic()
        try:
            return original(*given, **named)
        finally:
            spent[0] += time.monotonic() - began

    setattr(kind, method, timed)
    try:
        yield spent
    finally:
        setattr(kind, method, original)


def timed(run: Path, file: Path, *words: str) -> tuple[dict[str, Any], float]:
    began = time.monotonic()
    command = [MAPORL, "eval", "--run", str(run), "--data", str(file), "--json", "--display", "none", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout), round(time.monotonic() - began, 1)


def systems(found: dict[str, Any]) -> dict[str, Any]:
    """Accuracy and interval of each system, and what the team is better by."""
    return {
        who: {
            "accuracy": own["accuracy"],
            "ci95": own["ci95"],
            "invalid_share": own["invalid_share"],
            "tokens_per_question": own["tokens_per_question"],
            "seconds_per_question": own.get("seconds_per_question"),
            "team_is_better_by": found["comparisons"].get(who),
        }
        for who, own in {"team": found, **found["baselines"]}.items()
    }


if __name__ == "__main__":
    main()
