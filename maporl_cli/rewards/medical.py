"""The weighted medical reward of an episode, with its breakdown.

`task = Σ m·w·s / Σ m·w` over the components that apply, where `m` is
`reward.medxpert_accuracy_weight` for accuracy, `reward.safety_penalty_weight` for safety and
1 for the rest. Components that cannot apply leave both sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maporl_cli.agents.roles import RoleBook
from maporl_cli.core.config import RewardConfig
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Episode, Score
from maporl_cli.rewards import accuracy as _registers_accuracy  # noqa: F401
from maporl_cli.rewards.component import Component, components
from maporl_cli.rewards.format import well_formed


class Reward:
    """Scores finished episodes, group by group.

    Args:
        config: weights of the components and of the format term.
        book: the team's role book, which knows the form of a turn.

    Raises:
        ConfigError: no registered component has a weight, or a weight names no component.
    """

    def __init__(self, config: RewardConfig, book: RoleBook) -> None:
        known = components()
        weights: dict[str, float] = {**config.weights.model_dump(), **config.extra_weights}
        unknown = sorted(set(config.extra_weights) - set(known))
        if unknown:
            raise ConfigError(
                f"No reward component is called {unknown[0]!r}.",
                where=f"reward.extra_weights.{unknown[0]}",
                why=f"registered are: {', '.join(known)}",
                fix="correct the name, or list the plug-in that registers it in run.plugins",
            )
        multipliers = {"accuracy": config.medxpert_accuracy_weight, "safety": config.safety_penalty_weight}
        self._weighted: dict[str, tuple[float, Component]] = {
            name: (weights[name] * multipliers.get(name, 1.0), component)
            for name, component in known.items()
            if weights.get(name, 0.0) * multipliers.get(name, 1.0) > 0
        }
        if not self._weighted:
            raise ConfigError(
                "Every reward component has weight 0, so no episode could earn anything.",
                where="reward.weights",
                fix="give a component a positive weight, for example --set reward.weights.accuracy=1",
            )
        self._format_weight = config.format_weight
        self._format_always = config.format_paid == "always"
        self._book = book

    def score(self, groups: Sequence[Sequence[Episode]]) -> None:
        """Set `episode.score` on each episode of each group (the episodes of one question).

        Unless `reward.format_paid` is `always`, the format term is paid only where the group's task
        rewards differ: in a group without spread it would be the only difference, and a tiny term
        would steer a whole update.
        """
        for group in groups:
            tasks = [self._task(episode) for episode in group]
            live = self._format_always or max(task for task, _, _ in tasks) > min(
                task for task, _, _ in tasks
            )
            for episode, (task, values, reasons) in zip(group, tasks, strict=True):
                form = well_formed(episode, self._book)
                paid = self._format_weight * form if live else 0.0
                episode.score = Score(task, form, task + paid, values, reasons)

    def _task(self, episode: Episode) -> tuple[float, Mapping[str, float], Mapping[str, str]]:
        values: dict[str, float] = {}
        reasons: dict[str, str] = {}
        total = weight_sum = 0.0
        for name, (weight, component) in self._weighted.items():
            measured = component(episode)
            if measured is None:
                continue
            values[name] = measured.value
            if measured.reason:
                reasons[name] = measured.reason
            total += weight * measured.value
            weight_sum += weight
        if weight_sum == 0.0:
            raise ConfigError(
                "No reward component applies to an episode.",
                where=f"question {episode.question.id}",
                why=f"weighted are: {', '.join(self._weighted)}",
                fix="give a weight to a component that applies to every question, such as accuracy",
            )
        return total / weight_sum, values, reasons
