"""How a step's time grows with the group, the prompt, the agents and the rounds.

    python benchmarks/curves.py --model DIR --data FILE_OF_QUESTIONS

runs `step.py` (one agent) for groups of 1 to 16 and prompts of 100 to 1,600 tokens, and `one_team.py` (a
whole team, with rewards, logs and checkpoints) for 1 to 8 agents and 1 to 4 rounds, one after the other on
one core; one number is changed at a time. Longer prompts than the file's are its questions one after another.
Median CPU seconds a step over `--steps` steps; the settings of the allocator are those of `trainers.py`.

Beside each: the tokens that an update computes, what rows share counted once, and over a whole curve the
share of the seconds' variance that a straight line in those tokens explains.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from clinic_learning import machine
from scipy.stats import linregress
from trainers import run
from transformers import AutoTokenizer

from maporl_cli.agents.prefix_tree import prefix_tree

HERE = Path(__file__).parent
RESULT = HERE / "results" / "curves.json"
GROUPS = (1, 2, 4, 8, 16)
LENGTHS = (100, 200, 400, 800, 1600)
AGENTS = (1, 2, 4, 8)
ROUNDS = (1, 2, 3, 4)
ROLES = ("planner", "researcher", "analyst", "reporter")
PROMPTS, GROUP, NEW = 4, 4, 32

Point = dict[str, float]


def main() -> None:
    asked = arguments()
    with tempfile.TemporaryDirectory() as folder:
        curves = {
            "group": list(by_group(asked)),
            "prompt": list(by_length(asked, Path(folder))),
            "agents": list(by_agents(asked, Path(folder))),
            "rounds": list(by_rounds(asked, Path(folder))),
        }
    found = {
        "command": f"python benchmarks/curves.py --model {asked.model.name} --steps {asked.steps}",
        "machine": machine(),
        "shape": {"prompts": PROMPTS, "group": GROUP, "max_new": NEW},
        "curves": curves,
        "lines": {name: line(points) for name, points in curves.items()},
    }
    print(json.dumps(found["lines"], indent=1))
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


def by_group(asked: argparse.Namespace) -> Iterator[Point]:
    for group in GROUPS:
        yield one_agent(asked, asked.data, group, (160, 240)) | {"at": group}


def by_length(asked: argparse.Namespace, folder: Path) -> Iterator[Point]:
    for length in LENGTHS:
        data = folder / f"{length}.jsonl"
        window = (round(length * 0.9), round(length * 1.1))
        texts = joined(asked, window, PROMPTS * (asked.steps + 1))
        data.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
        yield one_agent(asked, data, GROUP, window) | {"at": length}


def by_agents(asked: argparse.Namespace, folder: Path) -> Iterator[Point]:
    for count in AGENTS:
        yield team(asked, folder, count, 1) | {"at": count}


def by_rounds(asked: argparse.Namespace, folder: Path) -> Iterator[Point]:
    for rounds in ROUNDS:
        yield team(asked, folder, len(ROLES), rounds) | {"at": rounds}


def one_agent(asked: argparse.Namespace, data: Path, group: int, window: tuple[int, int]) -> Point:
    told = command(
        "step.py",
        *("--model", asked.model, "--data", data, "--prompts", PROMPTS, "--group", group, "--max-new", NEW),
        *("--steps", asked.steps, "--min-tok", window[0], "--max-tok", window[1], "--json"),
    )
    tokens = PROMPTS * told["prompt_tok_mean"] + PROMPTS * group * (NEW - 1)
    return point(tokens, told["cpu_times"], told)


def team(asked: argparse.Namespace, folder: Path, agents: int, rounds: int) -> Point:
    names = [*ROLES, *(f"{role}_2" for role in ROLES)][:agents]
    place = folder / f"{agents}-{rounds}"
    told = command(
        "one_team.py",
        *("--folder", place, "--model", asked.model, "--data", asked.data, "--agents", *names),
        *(
            "--rounds",
            rounds,
            "--prompts",
            PROMPTS,
            "--group",
            GROUP,
            "--max-new",
            NEW,
            "--steps",
            asked.steps,
        ),
    )
    steps = [trained(path) for path in sorted((place / "run" / "episodes").iterdir())]
    return point(median(steps[1:]), [step["cpu"] for step in told["steps"]], told)


def trained(episodes: Path) -> int:
    """Tokens that the updates of a step compute: each agent's rows are a tree."""
    rows: dict[str, list[tuple[int, ...]]] = {}
    for text in episodes.read_text(encoding="utf-8").splitlines():
        for turn in json.loads(text)["turns"]:
            rows.setdefault(turn["agent"], []).append((*turn["prompt_ids"], *turn["token_ids"][:-1]))
    return sum(len(prefix_tree(own).ids) for own in rows.values())


def point(tokens: float, seconds: list[float], told: dict[str, Any]) -> Point:
    return {
        "tokens": tokens,
        "cpu_s": median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "peak_rss_mb": told["peak_rss_mb"],
    }


def command(script: str, *options: object) -> dict[str, Any]:
    return run([sys.executable, str(HERE / script), *map(str, options)])


def joined(asked: argparse.Namespace, window: tuple[int, int], count: int) -> list[str]:
    """Texts that have so many tokens as a prompt of `step.py`: of one question, or several."""
    tokenizer: Any = AutoTokenizer.from_pretrained(asked.model)
    framed = 8  # tokens around a message, at most
    questions = [json.loads(line)["question"] for line in asked.data.read_text().splitlines()]
    found: list[str] = []
    text = ""
    for question in questions:
        text = f"{text} {question}".strip()
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) + framed >= window[0]:
            found.append(tokenizer.decode(ids[: (window[0] + window[1]) // 2 - framed]))
            text = ""
        if len(found) == count:
            return found
    raise SystemExit(f"{asked.data} has too little text for {count} prompts of {window[1]} tokens")


def line(points: list[Point]) -> Point:
    fit: Any = linregress([each["tokens"] for each in points], [each["cpu_s"] for each in points])
    return {
        "seconds_a_thousand_tokens": round(1000 * fit.slope, 4),
        "seconds_at_none": round(fit.intercept, 4),
        "explained": round(fit.rvalue**2, 4),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with a `question` each")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
