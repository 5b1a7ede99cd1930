"""Guards of how an agent speaks: it is no longer as it was when accuracy was best, and accuracy is lower.

Entropy, length, form and language may all move far in a healthy run, as a team learns what to say. So a
change alone is no alarm; that accuracy has not gained by it has to come with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from maporl_cli.training.guards.past import (
    ACCURACY,
    SOLVED,
    Alarm,
    Past,
    Rows,
    first_step,
    means,
    medians,
    moved,
    steps_of,
)


@dataclass(frozen=True, slots=True)
class Shift:
    """One way for a measure to go wrong.

    Attributes:
        guard: the guard's name.
        measure: of each agent, `<agent>:<measure>`, and its parts, `<agent>:<measure>:<part>`.
        where: the bad direction.
        far: from the median then and the median now, whether that is far.
        fix: what to do about it.
        unless_solved: whether nothing is wrong with it once there is little left to learn.
    """

    guard: str
    measure: str
    where: Literal["greater", "less"]
    far: Callable[[float, float], bool]
    fix: str
    unless_solved: bool = False

    def __call__(self, past: Past) -> Alarm | None:
        """The alarm, where the measure of an agent is far from where it was."""
        best, now = past.best, past.now
        accuracy = means(best, now, ACCURACY)
        if accuracy is None or accuracy[1] >= accuracy[0] or (self.unless_solved and accuracy[1] >= SOLVED):
            return None
        seen = [told for name in self._names(past) if (told := self._told(best, now, name))]
        if not seen:
            return None
        lost = f"accuracy from {accuracy[0]:.3f} to {accuracy[1]:.3f}"
        what = f"since {steps_of(best)}, where accuracy was best, {', '.join(seen)}, and {lost}"
        return Alarm(self.guard, first_step(now), what, self.fix)

    def _names(self, past: Past) -> Iterator[str]:
        for name in dict.fromkeys(name for row in past.now for name in row):
            agent, _, measure = name.partition(":")
            if agent in past.agents and (measure + ":").startswith(self.measure + ":"):
                yield name

    def _told(self, best: Rows, now: Rows, name: str) -> str:
        found = medians(best, now, name)
        if found is None or not self.far(*found) or not moved(best, now, name, self.where):
            return ""
        return f"{name} went from {found[0]:.3g} to {found[1]:.3g}"


_LOW_ENTROPY = "raise train.entropy_coeff or train.clip_ratio_high, or lower train.learning_rate"
_CLOSER = "raise train.kl_coeff, or lower train.learning_rate"
_LENGTH = f"look at its turns in the run's episodes; {_CLOSER}, or change team.agents.*.max_new_tokens"
_FORM = f"raise reward.format_weight or set reward.format_paid=always; {_CLOSER}"
_LANGUAGE = f"look at its turns in the run's episodes for what the reward may pay; {_CLOSER}"

SHIFTS = (
    Shift("entropy", "entropy", "less", lambda then, now: now < then / 10, _LOW_ENTROPY, unless_solved=True),
    Shift("entropy", "entropy", "greater", lambda then, now: now > 2 * then + 0.5, _CLOSER),
    Shift("length", "length", "less", lambda then, now: now < then / 2, _LENGTH),
    Shift("length", "length", "greater", lambda then, now: now > 2 * then, _LENGTH),
    Shift("format", "format", "less", lambda then, now: now < then - 0.2, _FORM),
    Shift("language", "novel", "greater", lambda then, now: now > then + 0.2, _LANGUAGE),
    Shift("language", "repeats", "greater", lambda then, now: now > then + 0.2, _LANGUAGE),
    Shift("language", "foreign", "greater", lambda then, now: now > then + 0.05, _LANGUAGE),
)
