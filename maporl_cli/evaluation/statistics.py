"""How sure a measured accuracy is, and a measured difference.

Everything is counted by questions: answers to one question, such as those of several seeds, are no
independent evidence, so a question counts by the share of its answers that are right.
"""

# scipy, scikit-learn and statsmodels are not typed. They are imported where they are needed, since they take
# seconds, which most commands need not wait.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

_RESAMPLES = 9_999
_BATCH = 500
"""Resamples at a time: of 2,450 questions they take 10 MB."""
_BINS = 10


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of `correct` out of `n`, as shares in [0, 1].

    Wilson, E. B. (1927), JASA 22(158), 209-212. Unlike the normal approximation it keeps inside
    [0, 1] and keeps its coverage near 0 and 1, where small evaluations often end up.

    Raises:
        ValueError: `n` is not positive, or `correct` is not in 0…n.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} correct out of {n} is no proportion")
    from statsmodels.stats import proportion

    low, high = cast(Any, proportion).proportion_confint(correct, n, alpha=0.05, method="wilson")
    return float(low), float(high)


def bootstrap(values: Sequence[float], *, within: tuple[float, float], seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of `values`, one a question.

    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3; 9,999 resamples. Where all
    values are the same, resampling them shows no doubt at all. Then the interval is what the mean could be if
    as many questions had another value as may go unseen: 1 − .025^(1/n) (Clopper and Pearson 1934, for none
    of n).

    Args:
        within: the least and the greatest value that there could be.
    """
    if len(set(values)) == 1:
        (value, *_), (least, most) = values, within
        unseen = 1 - 0.025 ** (1 / len(values))
        return value - unseen * (value - least), value + unseen * (most - value)
    from scipy import stats

    found = cast(Any, stats).bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = found.confidence_interval
    return float(low), float(high)


def mcnemar(better: int, worse: int) -> float:
    """The exact two-sided p of McNemar's test (Psychometrika 12, 1947, 153-157).

    Args:
        better, worse: questions that only the one, and only the other, answered rightly.
    """
    from statsmodels.stats import contingency_tables

    table = [[0, better], [worse, 0]]
    return float(cast(Any, contingency_tables).mcnemar(table, exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several comparisons, adjusted so that all of them together err at most so often.

    Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    if not p_values:
        return []
    from statsmodels.stats import multitest

    return [float(p) for p in cast(Any, multitest).multipletests(p_values, method="holm")[1]]


def above_chance(accuracy: float, chance: float) -> float:
    """`(accuracy − chance) / (1 − chance)`: 0 for guessing, 1 for all right, below 0 for worse than guessing.

    Args:
        chance: the accuracy of guessing, the mean of 1/options; 0 where answers are free text.
    """
    return (accuracy - chance) / (1 - chance)


def macro_f1(gold: Sequence[str], answers: Sequence[str | None]) -> float:
    """The mean F1 of the gold answers' kinds; an answer that could not be read is of no kind."""
    from sklearn import metrics

    kinds = sorted(set(gold))
    told = ["" if answer is None else answer for answer in answers]
    return float(cast(Any, metrics).f1_score(gold, told, labels=kinds, average="macro", zero_division=0.0))


def correlation(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Pearson's r; None where one side has no spread, and so goes with nothing."""
    if len(set(values)) < 2 or len(set(others)) < 2:
        return None
    from scipy import stats

    return float(cast(Any, stats).pearsonr(values, others).statistic)


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same stated confidence.

    Attributes:
        low, high: the confidences that are in it; 1 is in the last one.
        n: how many answers.
        confidence, accuracy: their means.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def reliability(confidences: Sequence[float], correct: Sequence[bool]) -> list[Bin]:
    """Ten bins of equal width, those without an answer left out."""
    places = np.minimum((np.asarray(confidences) * _BINS).astype(int), _BINS - 1)
    rights = np.asarray(correct, dtype=float)
    return [
        Bin(
            index / _BINS,
            (index + 1) / _BINS,
            int(inside.sum()),
            float(np.asarray(confidences)[inside].mean()),
            float(rights[inside].mean()),
        )
        for index in range(_BINS)
        if (inside := places == index).any()
    ]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """`Σ n_b/n · |accuracy_b − confidence_b|` (Guo et al. 2017, arXiv 1706.04599, eq. 3)."""
    total = sum(one.n for one in bins)
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / total


def brier(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Mean squared distance of the confidence from what came of it (Brier 1950)."""
    return float(np.mean((np.asarray(confidences) - np.asarray(correct, dtype=float)) ** 2))
