"""How the page says figures: shares, differences of shares, p-values, and the names of what was evaluated."""

from __future__ import annotations

from collections.abc import Sequence

SYSTEMS = {
    "team": "Team",
    "before": "Team before training",
    "after": "Team after training",
    "untrained": "Untrained team",
    "single": "One agent alone, sees everything",
    "majority": "Majority of one agent's votes",
    "reporter_alone": "Reporter alone, sees its own view",
    "zero_shot": "The model alone, published prompts",
}
"""What is evaluated, in the page's order."""


def system(name: str) -> str:
    """A system in words; one that is not known under its own name."""
    return SYSTEMS.get(name, name)


def percent(share: float) -> str:
    """`0.25`: 25.0 %."""
    return f"{100 * share:.1f} %".replace("-", "−")


def setting(value: object) -> str:
    """The value of a key that is searched: `0.00031415`: 0.0003142."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def points(difference: float) -> str:
    """A difference of shares, in percentage points: `0.25` is +25.0."""
    told = f"{100 * difference:+.1f}"
    return "0.0" if float(told) == 0 else told.replace("-", "−")


def points_between(bounds: Sequence[float]) -> str:
    """The interval of a difference."""
    return f"{points(bounds[0])} to {points(bounds[1])}"


def probability(p: float) -> str:
    """A p-value, as papers write it."""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def p_value(p: float) -> str:
    """The same after its letter."""
    return f"p {probability(p)}" if p < 0.001 else f"p = {probability(p)}"
