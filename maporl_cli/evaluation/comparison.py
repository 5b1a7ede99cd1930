"""Two systems on the same questions: which is better, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from maporl_cli.evaluation.records import Row, by_question
from maporl_cli.evaluation.statistics import bootstrap, holm, mcnemar


@dataclass(frozen=True, slots=True)
class Paired:
    """A team against one baseline.

    Attributes:
        n: questions that both were asked.
        difference, ci95: the team's accuracy less the baseline's; paired bootstrap, over questions.
        better, worse: answers that only the team, and only the baseline, had right.
        p: of the exact McNemar test on these.
    """

    n: int
    difference: float
    ci95: tuple[float, float]
    better: int
    worse: int
    p: float


def paired(team: Sequence[Row], baseline: Sequence[Row]) -> Paired:
    """Compare on the questions of both.

    With several seeds a question counts by its mean over them in the difference, and by the first seed in
    McNemar's test, whose pairs have to be independent.
    """
    ours, theirs = by_question(team), by_question(baseline)
    common = [question for question in ours if question in theirs]
    if not common:
        raise ValueError("the two systems have no question in common")
    differences = [
        fmean(row["correct"] for row in ours[question]) - fmean(row["correct"] for row in theirs[question])
        for question in common
    ]
    firsts = [(ours[question][0]["correct"], theirs[question][0]["correct"]) for question in common]
    better, worse = firsts.count((True, False)), firsts.count((False, True))
    return Paired(
        n=len(common),
        difference=fmean(differences),
        ci95=bootstrap(differences, within=(-1, 1), seed=0),
        better=better,
        worse=worse,
        p=mcnemar(better, worse),
    )


def compared(team: Sequence[Row], baselines: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Any]]:
    """The team against each baseline, in JSON's types; `p_holm` allows for their number."""
    pairs = {name: paired(team, rows) for name, rows in baselines.items()}
    adjusted = holm([pair.p for pair in pairs.values()])
    return {
        name: asdict(pair) | {"ci95": list(pair.ci95), "p_holm": p_holm}
        for (name, pair), p_holm in zip(pairs.items(), adjusted, strict=True)
    }


def reward_alarm(after: Sequence[Row], before: Sequence[Row]) -> str:
    """A sentence where training raised the reward and not, as far as can be told, the accuracy; else "".

    Args:
        after, before: the trained and the untrained team's records of the same questions.
    """
    ours, theirs = by_question(after), by_question(before)
    both = [question for question in ours if question in theirs]
    if not both or any("score" not in row for row in (*after, *before)):
        return ""
    rewards = [_total(ours[question]) - _total(theirs[question]) for question in both]
    low, high = bootstrap(rewards, within=(-1, 1), seed=0)
    accuracy = paired(after, before)
    if low <= 0 or accuracy.ci95[0] > 0:
        return ""
    return (
        f"training raised the reward by {fmean(rewards):.3f} [{low:.3f}, {high:.3f}], but the accuracy by "
        f"{accuracy.difference:.3f} [{accuracy.ci95[0]:.3f}, {accuracy.ci95[1]:.3f}], which may be nothing: "
        "look at the answers for what else is paid"
    )


def _total(rows: Sequence[Row]) -> float:
    return fmean(row["score"]["total"] for row in rows)
