"""The weighted medical reward of an episode, with its breakdown.

`S = Σ m·w·s / Σ m·w` over the components that apply, where `m` is `reward.medxpert_accuracy_weight`
for accuracy, `reward.safety_penalty_weight` for safety and 1 for the rest. Components that cannot
apply leave both sums. `total` is 0 where a contraindicated act is recommended, else `½·ok + ½·S`, so
that no wrong answer out-earns a right one, whatever the weights; `ok` is whether the answer is the
gold one, or in free text the accuracy; without a gold answer it is the verifier's probability, and each
component its expected value, or left out (docs/reward.md). Where form is paid, the total is
`(½·ok + ½·S + f·form) / (1 + f)` with `f` = `reward.format_weight`, but at most half of accuracy's share
of the weights: what a wrong answer could gain by its form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maporl_cli.agents.roles import RoleBook
from maporl_cli.core.config import RewardConfig
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Episode, Score
from maporl_cli.rewards import (  # each registers its component
    clinical_reasoning,  # noqa: F401
    collaboration,  # noqa: F401
    medical_relevance,  # noqa: F401
)
from maporl_cli.rewards.accuracy import Accuracy, is_right
from maporl_cli.rewards.component import ACCURACY, Component, components
from maporl_cli.rewards.evidence_quality import EvidenceQuality
from maporl_cli.rewards.format import well_formed
from maporl_cli.rewards.safety import veto
from maporl_cli.rewards.similarity import Similarity
from maporl_cli.rewards.stances import is_judged

EVIDENCE = "evidence_quality"
GUARDED = "safety"
"""With this component's weight at 0, nothing is vetoed: the patients of a made-up world cannot be harmed."""


@dataclass(frozen=True, slots=True)
class _Task:
    """An episode without its form."""

    ok: float
    medical: float
    vetoed: bool
    values: dict[str, float]
    reasons: dict[str, str]

    def total(self, form: float, weight: float) -> float:
        """With so much weight for form beside the rest."""
        if self.vetoed:
            return 0.0
        return ((self.ok + self.medical) / 2 + weight * form) / (1 + weight)


def component_weights(config: RewardConfig) -> dict[str, float]:
    """What each component that is paid for weighs; no model is loaded.

    Raises:
        ConfigError: no registered component has a weight, or a weight names no component.
    """
    known = (ACCURACY, EVIDENCE, *components())
    given: dict[str, float] = {**config.weights.model_dump(), **config.extra_weights}
    unknown = sorted(set(config.extra_weights) - set(known))
    if unknown:
        raise ConfigError(
            f"No reward component is called {unknown[0]!r}.",
            where=f"reward.extra_weights.{unknown[0]}",
            why=f"registered are: {', '.join(known)}",
            fix="correct the name, or list the plug-in that registers it in run.plugins",
        )
    multipliers = {ACCURACY: config.medxpert_accuracy_weight, GUARDED: config.safety_penalty_weight}
    weights = {name: given.get(name, 0.0) * multipliers.get(name, 1.0) for name in known}
    paid = {name: weight for name, weight in weights.items() if weight > 0}
    if not paid:
        raise ConfigError(
            "Every reward component has weight 0, so no episode could earn anything.",
            where="reward.weights",
            fix="give a component a positive weight, for example --set reward.weights.accuracy=1",
        )
    return paid


class Reward:
    """Scores finished episodes, group by group.

    Args:
        config: weights of the components and of the format term.
        book: the team's role book, which knows the form of a turn.

    Raises:
        ConfigError: as `component_weights`.
        MissingError: `reward.similarity_model` is not there.
    """

    def __init__(self, config: RewardConfig, book: RoleBook) -> None:
        weights = component_weights(config)
        similarity = None if config.similarity_model is None else Similarity(config.similarity_model)
        self._accuracy = Accuracy(similarity)
        evidence = EvidenceQuality(similarity)
        known: dict[str, Component] = {ACCURACY: self._accuracy, EVIDENCE: evidence, **components()}
        self._weighted = {name: (weight, known[name]) for name, weight in weights.items()}
        self._embedding = [self._accuracy, *([evidence] if EVIDENCE in weights else [])]
        share = self._weighted.get(ACCURACY, (0.0, None))[0] / sum(
            weight for weight, _ in self._weighted.values()
        )
        self._format_weight = min(config.format_weight, share / 2)
        self._format_always = config.format_paid == "always"
        self._book = book

    def score(self, groups: Sequence[Sequence[Episode]]) -> None:
        """Set `episode.score` on each episode of each group (the episodes of one question).

        Unless `reward.format_paid` is `always`, the format term is paid only where the group's task
        rewards differ: in a group without spread it would be the only difference, and a tiny term
        would steer a whole update. A group of which nothing is known, neither a gold answer nor what a
        verifier says, gets no score.
        """
        groups = [group for group in groups if all(map(is_judged, group))]
        for component in self._embedding:
            component.prepare([episode for group in groups for episode in group])
        for group in groups:
            tasks = [self._task(episode) for episode in group]
            plain = [task.total(0.0, 0.0) for task in tasks]
            live = self._format_always or max(plain) > min(plain)
            for episode, task in zip(group, tasks, strict=True):
                form = well_formed(episode, self._book)
                total = task.total(form, self._format_weight if live else 0.0)
                episode.score = Score(task.medical, form, total, task.values, task.reasons)

    def _task(self, episode: Episode) -> _Task:
        measured = {
            name: found
            for name, (_, component) in self._weighted.items()
            if (found := component(episode)) is not None
        }
        if not measured:
            raise ConfigError(
                "No reward component applies to an episode.",
                where=f"question {episode.question.id}",
                why=f"weighted are: {', '.join(self._weighted)}",
                fix="give a weight to a component that applies to every question, such as accuracy",
            )
        weights = {name: self._weighted[name][0] for name in measured}
        medical = sum(weights[name] * found.value for name, found in measured.items()) / sum(weights.values())
        reasons = {name: found.reason for name, found in measured.items() if found.reason}
        harm = veto(episode) if GUARDED in self._weighted else None
        if harm is not None:
            reasons["veto"] = f"recommends {harm.act}: {harm.why} ({harm.source})"
        ok = is_right(episode, measured.get(ACCURACY) or self._accuracy(episode))
        values = {name: found.value for name, found in measured.items()}
        return _Task(ok, medical, harm is not None, values, reasons)
