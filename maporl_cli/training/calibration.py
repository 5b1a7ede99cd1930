"""Whether probabilities mean what they say: of what is called 70 % likely, 70 % shall happen."""

# scipy is not typed.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about one size.

    Attributes:
        predicted: their mean.
        observed: the share of them that came true.
        count: how many there are.
    """

    predicted: float
    observed: float
    count: int


def reliability(predicted: Sequence[float], happened: Sequence[bool]) -> list[Bin]:
    """The predictions in bins of equal width over [0, 1]; a bin without any is left out."""
    values, outcomes = np.asarray(predicted), np.asarray(happened, float)
    place = np.minimum((values * BINS).astype(int), BINS - 1)
    return [
        Bin(float(values[here].mean()), float(outcomes[here].mean()), int(here.sum()))
        for here in (place == index for index in range(BINS))
        if here.any()
    ]


def calibration(predicted: Sequence[float], happened: Sequence[bool], base: float) -> dict[str, float]:
    """How good the predictions are, each figure by its name.

    Args:
        base: the share that came true the last time; always to predict it is what they are measured against.

    Returns:
        `brier`, the mean squared error (Brier 1950, "Verification of forecasts expressed in terms of
        probability"), and `brier_base`, that of `base`; `calibration_error`, the mean distance of
        predicted and observed over the bins of `reliability` (Guo et al. 2017, arXiv 1706.04599, eq. 3);
        and, where both outcomes occur, `auc`, the share of (true, untrue) pairs that they order rightly.
    """
    values, outcomes = np.asarray(predicted), np.asarray(happened, float)
    bins = reliability(predicted, happened)
    found = {
        "brier": float(np.mean((values - outcomes) ** 2)),
        "brier_base": float(np.mean((base - outcomes) ** 2)),
        "calibration_error": sum(one.count * abs(one.predicted - one.observed) for one in bins) / len(values),
    }
    came_true, not_true = values[outcomes == 1], values[outcomes == 0]
    if len(came_true) and len(not_true):
        ordered = mannwhitneyu(came_true, not_true).statistic
        found["auc"] = float(ordered) / (len(came_true) * len(not_true))
    return found
