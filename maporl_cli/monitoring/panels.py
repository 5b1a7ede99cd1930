"""Which of a run's metrics are drawn together, and what each drawing is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maporl_cli.core.config import VERIFIER
from maporl_cli.monitoring.plots import Series, line_plot, reliability_plot
from maporl_cli.monitoring.run_files import Judged
from maporl_cli.training.calibration import reliability


@dataclass(frozen=True, slots=True)
class Panel:
    """A drawing with its words; `svg` is trusted markup, the rest is text."""

    title: str
    note: str
    svg: str


def metric_panels(metrics: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """A panel for each kind of metric that was measured at all, in the page's order.

    Args:
        metrics: a mapping a step, as `jsonl.read_metrics` gives it.
    """
    names = list(dict.fromkeys(name for row in metrics for name in row))
    measured = [name.split(":")[0] for name in names if name.endswith((":length", ":loss"))]
    agents = [name for name in dict.fromkeys(measured) if name != "train"]
    others = {"train", "eval", "guard", VERIFIER, *agents}
    rewards = [name for name in names if ":" in name and name.split(":")[0] not in others]
    drawn = (
        (
            "Accuracy",
            "",
            {
                "train:accuracy": "training",
                "eval:accuracy": "evaluation, greedy",
                "eval:sampled_accuracy": "evaluation, sampled",
            },
            True,
        ),
        ("Reward", "", {"train:reward": "total", "train:task_reward": "task"}, False),
        (
            "Answers",
            "Share of training episodes; unreadable also of the evaluation, greedy.",
            {
                "train:format": "well formed",
                "train:invalid": "unreadable",
                "eval:invalid": "unreadable, evaluation",
            },
            True,
        ),
        ("Loss", "Policy loss of each agent.", _of_agents(agents, "loss"), False),
        ("Entropy", "Of each agent, in nats a sampled token.", _of_agents(agents, "entropy"), False),
        ("Gradient norm", "Of each agent, before clipping.", _of_agents(agents, "grad_norm"), False),
        ("Length", "Sampled tokens of a turn, by agent.", _of_agents(agents, "length"), False),
        ("Form", "Share of well-formed turns, by agent.", _of_agents(agents, "format"), True),
        ("New words", "Share of words that the question does not give.", _of_agents(agents, "novel"), True),
        (
            "What learning is after",
            "Correlation of reward and right answers within groups.",
            {"train:agreement": "agreement"},
            False,
        ),
        (
            "Left out of learning",
            "Groups without spread; turns cut at their token limit.",
            {"train:dead_groups": "dead groups", "train:cut_turns": "cut turns"},
            True,
        ),
        ("Reward components", "", {name: name for name in rewards}, True),
        (
            "Verifier",
            "Of what it said since its last refresh, before it learned from it. It knows something where its "
            "Brier score is below that of always saying the share that was right before that refresh.",
            {
                "verifier:brier": "Brier score",
                "verifier:brier_base": "Brier score of that share",
                "verifier:calibration_error": "calibration error",
                "verifier:auc": "AUC",
            },
            True,
        ),
        (
            "Verifier's belief",
            "Where the first rises and the second does not, the team learns to please the verifier.",
            {
                "verifier:believed": "mean probability, without a gold answer",
                "train:accuracy": "accuracy, with one",
            }
            if "verifier:believed" in names
            else {},
            True,
        ),
    )
    panels: list[Panel] = []
    for title, note, wanted, share in drawn:
        series = [
            line for name, label in wanted.items() if (line := _series(metrics, name, label)) is not None
        ]
        if series:
            panels.append(Panel(title, note, line_plot(_slug(title), series, share=share)))
    return panels


def reliability_panel(judged: Sequence[Judged]) -> Panel:
    """What the verifier said, beside what it came to."""
    bins = reliability([one.verified for one in judged], [one.correct for one in judged])
    note = (
        f"Of {len(judged):,} answers whose gold one is known, in the last steps. On the diagonal its "
        "probabilities mean what they say; a larger dot stands for more answers."
    )
    return Panel("Verifier's reliability", note, reliability_plot("reliability", bins))


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-").replace("'", "")


def _of_agents(agents: Sequence[str], metric: str) -> dict[str, str]:
    return {f"{agent}:{metric}": agent for agent in agents}


def _series(metrics: Sequence[Mapping[str, Any]], name: str, label: str) -> Series | None:
    rows = [(row["step"], row[name]) for row in metrics if name in row]
    if all(value is None for _, value in rows):
        return None
    return Series(label, [step for step, _ in rows], [value for _, value in rows])
