"""Advantage: how a turn's return compares with its group. One file an estimator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maporl_cli.training.advantage.rloo import leave_one_out

Estimator = Callable[[Sequence[Sequence[float]]], list[list[float]]]
"""One agent's returns in one group (an inner sequence an episode, a number a turn) to advantages,
in the same shape."""

ESTIMATORS: dict[str, Estimator] = {"rloo": leave_one_out}
