"""The one training loop: sample questions, roll out, reward, credit, update, log, evaluate, checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from maporl_cli.agents.policy import NotFinite, Policy
from maporl_cli.agents.team import Team
from maporl_cli.core.config import Config
from maporl_cli.core.errors import Interrupted, RunFailed
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Group, Question
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.advantage import AnyEstimator
from maporl_cli.training.checkpoint import Checkpoints, Progress
from maporl_cli.training.credit import Credit, Means
from maporl_cli.training.experience import Gathered, gather, taught_by
from maporl_cli.training.guards import Guards
from maporl_cli.training.metrics import Monitor, StepShare, episodes_of, step_metrics
from maporl_cli.training.questions import question_batch
from maporl_cli.training.ranks import Ranks
from maporl_cli.training.rollout import rollout
from maporl_cli.training.scoring import score
from maporl_cli.training.stop import StopRequest
from maporl_cli.training.update import Learner, update_all
from maporl_cli.training.verifier import Verifier


@dataclass(kw_only=True)
class Trainer:
    """Trains a team in place.

    Attributes:
        config: the run's config.
        team, policies: who plays, and the language model of each agent of this rank.
        learners: one for each of them that is trained.
        reward, credit, estimator: what an episode earns, who answers for it, against what it is compared.
        questions: the training questions.
        steps: the step to end at.
        monitor: gets each step's metrics and episodes; on other ranks than 0, that it was, and its waiting.
        evaluator: called every `train.eval_every` steps; its metrics are logged with the step's.
        guards: told what each step measured; they may stop a training that collapses.
        checkpoints: where checkpoints go.
        stop: asked after each step, and within one before any weight changes.
        ranks, timeline: with whom the work is shared, and what this rank did when.
        verifier: judges questions without a gold answer, where there may be some.
    """

    config: Config
    team: Team
    policies: Mapping[str, Policy]
    learners: Sequence[Learner]
    reward: Reward
    credit: Credit
    estimator: AnyEstimator
    questions: Sequence[Question]
    steps: int
    monitor: Monitor
    evaluator: Callable[[], Mapping[str, float]]
    guards: Guards
    checkpoints: Checkpoints
    stop: StopRequest
    ranks: Ranks
    timeline: Timeline
    verifier: Verifier | None = None

    def run(self, progress: Progress, *, unmeasured: bool = False) -> Progress:
        """Train from `progress` to the last step.

        Args:
            unmeasured: the step of `progress` lacks its evaluation still, in which an earlier sitting was
                stopped.

        Raises:
            Interrupted: a rank was asked to stop; a checkpoint of the last finished step is on disk.
            RunFailed: a probability, loss or gradient is not finite, a guard stopped it, or a rank is lost.
        """
        if unmeasured:
            self.monitor.log(progress.step, self.evaluator())
        while progress.step < self.steps:
            try:
                progress = self._step(progress)
            except NotFinite as error:
                last = self.checkpoints.latest() or "none"
                raise RunFailed(
                    f"Training stopped. {error.what}",
                    where=f"step {progress.step + 1}; last good checkpoint: {last}",
                    why="the update diverged, or weights or inputs are damaged",
                    fix="start a new run with a lower train.learning_rate or a smaller train.max_grad_norm, "
                    "or look at the episodes of the steps before",
                ) from error
            self._checkpoint(progress)
        return progress

    def _step(self, progress: Progress) -> Progress:
        began, spoken = time.monotonic(), self.timeline.speaking
        step = progress.step + 1
        try:
            with self.timeline.phase("rollout", step=step):
                groups = self._roll_out(step)
            idle = 1 - (self.timeline.speaking - spoken) / (time.monotonic() - began)
            if self.verifier is not None:
                with self.timeline.phase("verify", step=step):
                    self.verifier.judge(groups)
            with self.timeline.phase("reward", step=step):
                score(groups, self.reward, self.ranks, self.timeline)
            with self.timeline.phase("credit", step=step):
                tokens = self._measure(groups)
            with self.timeline.phase("update", step=step):
                gathered, learned = self._learn(groups, step)
        except Interrupted:
            return progress  # nothing of this step is kept
        share = StepShare(groups, gathered.dead_groups, learned, idle, tokens)
        with self.timeline.phase("gather", step=step):
            shares = self.ranks.gather(share.of(self.ranks), f"the results of step {step}")
        with self.timeline.phase("results", step=step):
            metrics, alarms = {"train:idle": idle}, []
            if shares:
                self.monitor.episodes(step, episodes_of(shares))
                metrics = step_metrics(shares, self.team.agents)
                alarms = self.guards.watch(step, metrics)
                metrics |= {alarm.metric: 1.0 for alarm in alarms}
        seconds = time.monotonic() - began
        told = progress.after(metrics, seconds), alarms
        progress, alarms = self.ranks.broadcast(told, f"the end of step {step}")
        if self.config.train.eval_every and step % self.config.train.eval_every == 0:
            with suppress(Interrupted):  # the step is done and gets its checkpoint, and is measured on resume
                metrics |= self.evaluator()
        with self.timeline.phase("logging", step=step):
            self.monitor.log(step, metrics | {"train:seconds": seconds})
        self.guards.heed(step, alarms)
        return progress

    def _roll_out(self, step: int) -> list[Group]:
        """The groups of this rank's replica."""
        seed, plan = self.config.run.seed, self.config.rollout
        batch = question_batch(self.questions, step, self.config.train.batch_size, seed)
        return rollout(self.team, batch, step=step, seed=seed, plan=plan, ranks=self.ranks)

    def _measure(self, groups: Sequence[Group]) -> int | None:
        """Measure what the credit rule asks for; the tokens it took, None where it asks for nothing."""
        if self.credit.measurement is None:
            return None
        means = Means(self.config, self.team, self.reward, self.ranks, self.timeline)
        return self.credit.measurement.take(groups, taught_by(groups, self.estimator), means)

    def _learn(self, groups: Sequence[Group], step: int) -> tuple[Gathered, dict[str, float]]:
        """One update of every learner: from what, and its metrics."""
        gathered = gather(groups, self.learners, self.credit, self.estimator, self.config.train)
        learned = update_all(self.learners, gathered, step, self.ranks, self.timeline, self.stop)
        if self.verifier is not None:
            learned |= self.verifier.refresh(step)
        return gathered, learned

    def _checkpoint(self, progress: Progress) -> None:
        stopping = self.ranks.any(self.stop.requested, f"whether to stop after step {progress.step}")
        due = progress.step % self.config.train.save_every == 0 or progress.step == self.steps
        if due or stopping:
            with self.timeline.phase("checkpoint", step=progress.step):
                path = self.checkpoints.save(
                    progress, self.policies, self.learners, self.ranks, self.verifier
                )
            if stopping and progress.step < self.steps:
                raise Interrupted(
                    f"Stopped after step {progress.step} of {self.steps}; a checkpoint was written.",
                    where=str(path),
                    fix=f"run the same command with --resume --name {self.config.run.name} to go on from it",
                )
