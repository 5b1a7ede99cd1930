"""How sure a winner is: trained again with fresh seeds.

The best of many trials owes its value to luck as well as to its settings; seeds that took no part in choosing
it tell how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from maporl_cli.core.config import Config
from maporl_cli.tuning.search import Say, objective, trial_name
from maporl_cli.tuning.space import Values, trial_config


@dataclass
class Confirmation:
    """The winner's values, each time with another seed.

    Attributes:
        config: of the study.
        number: of the winning trial.
        values: its.
        found: by seed, what the objective was.
        failures: by seed, why there is no such value.
    """

    config: Config
    number: int
    values: Values
    say: Say
    found: dict[int, float] = field(default_factory=dict[int, float])
    failures: dict[int, str] = field(default_factory=dict[int, str])

    def jobs(self) -> Iterator[SeedJob]:
        """One a seed; the study's own was the winner's already."""
        first = self.config.run.seed + 1
        for seed in range(first, first + self.config.tune.confirm_seeds):
            name = f"{trial_name(self.number)}_seed_{seed}"
            told = trial_config(self.config, {**self.values, "run.seed": seed}, name=name)
            self.say(f"trial {self.number} again, with seed {seed}")
            yield SeedJob(told, self)


@dataclass
class SeedJob:
    """The winner with one more seed."""

    config: Config
    _of: Confirmation

    def goes_on(self) -> bool:
        return True

    def done(self, results: Mapping[str, Any]) -> None:
        value = objective(results, self.config.tune.objective)
        self._of.found[self.config.run.seed] = value
        self._of.say(f"seed {self.config.run.seed}: {value:.3f}")

    def stopped(self) -> None:
        """Nobody stops it early."""

    def failed(self, why: str) -> None:
        self._of.failures[self.config.run.seed] = why
        self._of.say(f"seed {self.config.run.seed} failed: {why}")


def mean_interval(values: list[float]) -> list[float] | None:
    """The 95 % t interval of the mean over seeds, within [0, 1]; None where seeds that differ are too few.

    Student 1908. Seeds are what varies here: all answer the same questions.
    """
    if len(set(values)) < 2:
        return None
    from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

    found: Any = stats
    low, high = found.t.interval(0.95, len(values) - 1, loc=fmean(values), scale=found.sem(values))
    return [max(0.0, float(low)), min(1.0, float(high))]
