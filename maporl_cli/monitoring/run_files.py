"""What a report reads from a run's directory; every part may still be missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.monitoring.wording import SYSTEMS, system

_LAST_STEPS = 10
"""Steps whose episodes tell how far the verifier can be relied on."""
_KINDS = ("right", "wrong", "unreadable")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One system's evaluation; None where a figure was not measured.

    Attributes:
        label: the system in words.
        accuracy, ci95: greedy accuracy and its Wilson interval.
        sampled, sampled_ci95: the same, sampled.
        n, invalid: questions asked, and those without a readable answer.
        tokens_per_question: prompt and sampled tokens.
    """

    label: str
    accuracy: float
    ci95: tuple[float, float] | None
    sampled: float | None
    sampled_ci95: tuple[float, float] | None
    n: int | None
    invalid: int | None
    tokens_per_question: float | None


@dataclass(frozen=True, slots=True)
class Example:
    """An episode to show: its step, which kind it is (`right`, `wrong`, `unreadable`), its record."""

    step: int
    kind: str
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the verifier said of an answer, in [0, 1], before it learned whether it was right."""

    verified: float
    correct: bool


def read_evaluations(run: RunDir) -> list[Evaluation]:
    """What training measured of the team and its baselines: what its results say, and `eval/<name>.json`.

    A run that stopped midway has no results yet, but the files of what it had evaluated. What `maporl eval`
    wrote there has settings of its own, and a section of its own.
    """
    found = dict(read_object(run.results).get("eval") or {})
    for path in sorted(run.evaluation.glob("*.json")):
        found.setdefault(path.stem, read_object(path))
    order = [name for name in SYSTEMS if name in found] + [name for name in found if name not in SYSTEMS]
    measured = [name for name in order if "accuracy" in found[name] and "settings" not in found[name]]
    return [_evaluation(name, found[name]) for name in measured]


def _evaluation(name: str, figures: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        label=system(name),
        accuracy=figures["accuracy"],
        ci95=_pair(figures.get("ci95")),
        sampled=figures.get("sampled"),
        sampled_ci95=_pair(figures.get("sampled_ci95")),
        n=figures.get("n"),
        invalid=figures.get("invalid"),
        tokens_per_question=figures.get("tokens_per_question"),
    )


def _pair(value: list[float] | None) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])


def read_judged(run: RunDir) -> list[Judged]:
    """Of the last steps, what the verifier said of the answers whose gold one is known."""
    files = sorted(run.episodes.glob("step_*.jsonl"))[-_LAST_STEPS:]
    return [
        Judged(record["verified"], record["correct"])
        for path in files
        for record in _records(path)
        if record.get("verified") is not None and record["correct"] is not None
    ]


def read_examples(run: RunDir) -> list[Example]:
    """From the first and the last step: one right, one wrong, one unreadable episode, where there are."""
    files = sorted(run.episodes.glob("step_*.jsonl"))
    return [example for path in dict.fromkeys([*files[:1], *files[-1:]]) for example in _examples(path)]


def _examples(path: Path) -> list[Example]:
    first: dict[str, Example] = {}
    for record in _records(path):
        if record["correct"] is None:  # nobody knows
            continue
        kind = "unreadable" if record["answer"] is None else "right" if record["correct"] else "wrong"
        first.setdefault(kind, Example(record["step"], kind, record))
    return [first[kind] for kind in _KINDS if kind in first]


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield json.loads(line)
