"""The one training loop: sample questions, roll out, reward, credit, update, log, evaluate, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from maporl_cli.agents.policy import NotFinite, Policy
from maporl_cli.agents.team import Team
from maporl_cli.core.config import Config
from maporl_cli.core.errors import Interrupted, RunFailed
from maporl_cli.core.types import Episode, Question
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.advantage import Estimator
from maporl_cli.training.checkpoint import Checkpoints, Progress
from maporl_cli.training.credit import CreditRule
from maporl_cli.training.experience import Gathered, gather
from maporl_cli.training.metrics import Monitor, step_metrics
from maporl_cli.training.questions import question_batch
from maporl_cli.training.rollout import rollout
from maporl_cli.training.stop import StopRequest
from maporl_cli.training.update import Learner


class Trainer:
    """Trains a team in place.

    Args:
        config: the run's config.
        team, policies: who plays, and the language model of each agent.
        learners: one for each agent that is trained.
        reward, credit, estimator: what an episode earns, who answers for it, against what it is compared.
        questions: the training questions.
        steps: the step to end at.
        monitor: gets each step's metrics and episodes.
        evaluator: called every `train.eval_every` steps; its metrics are logged with the step's.
        checkpoints: where checkpoints go.
        stop: asked after each step.
    """

    def __init__(
        self,
        config: Config,
        *,
        team: Team,
        policies: Mapping[str, Policy],
        learners: Sequence[Learner],
        reward: Reward,
        credit: CreditRule,
        estimator: Estimator,
        questions: Sequence[Question],
        steps: int,
        monitor: Monitor,
        evaluator: Callable[[], Mapping[str, float]],
        checkpoints: Checkpoints,
        stop: StopRequest,
    ) -> None:
        self._config = config
        self._team = team
        self._policies = policies
        self._learners = tuple(learners)
        self._reward = reward
        self._credit = credit
        self._estimator = estimator
        self._questions = questions
        self._steps = steps
        self._monitor = monitor
        self._evaluator = evaluator
        self._checkpoints = checkpoints
        self._stop = stop

    def run(self, progress: Progress) -> Progress:
        """Train from `progress` to the last step.

        Raises:
            Interrupted: a stop was requested; a checkpoint of the last finished step is on disk.
            RunFailed: a probability, loss or gradient is not finite.
        """
        while progress.step < self._steps:
            try:
                progress = self._step(progress)
            except NotFinite as error:
                last = self._checkpoints.latest()
                raise RunFailed(
                    f"Training stopped. {error.what}",
                    where=f"step {progress.step + 1}; last good checkpoint: {last or 'none'}",
                    why="the update diverged, or weights or inputs are damaged",
                    fix="start a new run with a lower train.learning_rate or a smaller train.max_grad_norm, "
                    "or look at the episodes of the steps before",
                ) from error
            self._checkpoint(progress)
        return progress

    def _step(self, progress: Progress) -> Progress:
        began = time.monotonic()
        step = progress.step + 1
        groups = self._roll_out(step)
        self._reward.score(groups)
        gathered = self._gather(groups)
        learned = self._update(gathered)
        episodes = [episode for group in groups for episode in group]
        metrics = step_metrics(episodes, gathered, len(groups)) | learned
        seconds = time.monotonic() - began
        if self._config.train.eval_every and step % self._config.train.eval_every == 0:
            metrics |= self._evaluator()
        self._monitor.episodes(step, episodes)
        self._monitor.log(step, metrics | {"train:seconds": seconds})
        return replace(
            progress,
            step=step,
            tokens=progress.tokens + int(metrics["train:tokens"]),
            seconds=progress.seconds + seconds,
        )

    def _roll_out(self, step: int) -> list[list[Episode]]:
        config = self._config
        batch = question_batch(self._questions, step, config.train.batch_size, config.run.seed)
        return rollout(
            self._team,
            batch,
            step=step,
            seed=config.run.seed,
            group_size=config.rollout.group_size,
            microbatches=config.rollout.microbatches,
        )

    def _gather(self, groups: Sequence[Sequence[Episode]]) -> Gathered:
        agents = [learner.agent for learner in self._learners]
        return gather(groups, agents, self._credit, self._estimator, self._config.train.gamma)

    def _update(self, gathered: Gathered) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for learner in self._learners:
            metrics |= learner.update(gathered.by_agent[learner.agent])
        losses = [value for name, value in metrics.items() if name.endswith(":loss")]
        if losses:
            metrics["train:loss"] = sum(losses) / len(losses)
        return metrics

    def _checkpoint(self, progress: Progress) -> None:
        due = progress.step % self._config.train.save_every == 0 or progress.step == self._steps
        if due or self._stop.requested:
            path = self._checkpoints.save(progress, self._policies, self._learners)
            if self._stop.requested and progress.step < self._steps:
                raise Interrupted(
                    f"Stopped after step {progress.step} of {self._steps}; a checkpoint was written.",
                    where=str(path),
                    fix=f"run the same command with --resume --name {self._config.run.name} to go on from it",
                )
