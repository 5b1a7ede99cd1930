"""What a training came to, as a small table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary(outcome: Mapping[str, Any]) -> str:
    """The worker's closing event as a small table, the run's path last."""
    evaluations: Mapping[str, Mapping[str, Any]] = outcome.get("eval") or {}
    columns = ("accuracy", "sampled", "n")
    lines = [" " * 16 + "".join(f"{column:>10}" for column in columns)] if evaluations else []
    for label, values in evaluations.items():
        lines.append(f"{label:16}" + "".join(f"{_number(values.get(column)):>10}" for column in columns))
    return "\n".join([*lines, f"steps: {outcome['steps']}", f"run: {outcome['run']}"])


def _number(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
