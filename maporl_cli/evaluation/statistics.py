"""How sure a measured accuracy is."""

from __future__ import annotations

from typing import Any, cast


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of `correct` out of `n`, as shares in [0, 1].

    Wilson, E. B. (1927), JASA 22(158), 209-212. Unlike the normal approximation it keeps inside
    [0, 1] and keeps its coverage near 0 and 1, where small evaluations often end up.

    Raises:
        ValueError: `n` is not positive, or `correct` is not in 0…n.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} correct out of {n} is no proportion")
    # Imported here because it pulls in pandas and scipy, seconds that most commands need not wait.
    from statsmodels.stats import proportion  # pyright: ignore[reportMissingTypeStubs]

    low, high = cast(Any, proportion).proportion_confint(correct, n, alpha=0.05, method="wilson")
    return float(low), float(high)
