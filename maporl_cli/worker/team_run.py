"""Training one team in one run directory: cold start, before, train, after, final model.

Each part leaves a file when it is done and is skipped when that file is there, so a run that
was stopped or killed anywhere goes on where it was. A baseline is a team run like any other.

Every rank goes through all parts together; only rank 0 reads and writes the run's files, and
what it finds there it tells the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from maporl_cli.agents.policy import memory_errors
from maporl_cli.core.atomic import atomic_dir, atomic_write
from maporl_cli.core.randomness import Draws, Greedy, Sampled
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.core.timeline import Timeline
from maporl_cli.data.splits import Split
from maporl_cli.evaluation.evaluate import evaluate
from maporl_cli.monitoring.console import ConsoleSink
from maporl_cli.monitoring.episodes import EpisodeFiles
from maporl_cli.monitoring.job_lines import MetricLines
from maporl_cli.monitoring.jsonl import JsonlSink, read_metrics
from maporl_cli.monitoring.log_file import LogSink
from maporl_cli.monitoring.monitor import Monitor, Sink
from maporl_cli.monitoring.wandb_sink import WandbSink
from maporl_cli.training.checkpoint import Checkpoints, Progress, load_checkpoint, load_weights
from maporl_cli.training.credit import keeps_start
from maporl_cli.training.guards import Guards, reach
from maporl_cli.training.ranks import Files
from maporl_cli.training.trainer import Trainer
from maporl_cli.training.update import Learner
from maporl_cli.training.verifier import Verifier
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.rules import Rules
from maporl_cli.worker.session import (
    Session,
    cold_start_session,
    open_learners,
    open_verifier,
    start_from,
)

_DECIDE_REFERENCE = (
    "the size of model.name or the agents a rank (more ranks: --nproc), or set model.finetune=lora, which "
    "needs no copy, or train.kl_coeff=0 and another train.credit"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a team run came to: how far it trained, and its accuracy before and after."""

    progress: Progress
    before: dict[str, Any]
    after: dict[str, Any]


class TeamRun:
    """One team in one directory.

    Args:
        session: the team, as it was built from its config.
        rules: what it is taught by.
        run: where everything is written.
        split: what is trained and evaluated on.
        steps: training steps in all, given what was measured before training.
        narrator: reports phases and stops them.
        timeline: what this rank did when.
        start: starting weights for every policy, instead of a cold start.
        label: names the team in what is shown; empty for the run's own team.
    """

    def __init__(
        self,
        session: Session,
        rules: Rules,
        run: RunDir,
        split: Split,
        *,
        steps: Callable[[Mapping[str, Any]], int],
        narrator: Narrator,
        timeline: Timeline,
        start: Mapping[str, Tensor] | None = None,
        label: str = "",
    ) -> None:
        self._session = session
        self._rules = rules
        self._config = session.config
        self._run = run
        self._split = split
        self._steps = steps
        self._narrator = narrator
        self._timeline = timeline
        self._ranks = session.ranks
        self._start = start
        self._label = f"{label}: " if label else ""
        self._team = label or "team"
        train = self._config.train
        late = reach(train.guard_window) if train.guards != "off" else 0
        self._checkpoints = Checkpoints(run.checkpoints, keep=train.keep_checkpoints, reach=late)

    def go(self) -> Outcome:
        """Run whatever is still to be done."""
        session, ranks = self._session, self._ranks
        latest = self._checkpoints.latest() if ranks.rank == 0 else None
        begun = ranks.broadcast(latest is not None, "whether the run has a checkpoint")
        began = time.monotonic()
        if not begun:
            with self._timeline.phase("cold start"):
                self._make_start(session)
        progress = Progress(seconds=time.monotonic() - began)
        if starts := keeps_start(self._config):
            with self._timeline.phase("setup"):
                self._keep_references(session, begun, starts)
        before = self._measure(session, "before")
        steps = self._steps(before)
        with self._timeline.phase("setup"):
            learners = open_learners(session, self._rules.estimator, steps=steps)
            verifier = open_verifier(session)
        if not begun:
            with self._timeline.phase("checkpoint"):
                self._checkpoints.save(progress, session.policies, learners, ranks, verifier)
        else:
            with self._timeline.phase("setup"):
                progress = load_checkpoint(latest, session.policies, learners, ranks, verifier)
            self._narrator.say(f"{self._label}going on from step {progress.step}")
            if ranks.rank == 0:
                self._forget_after(progress.step)
        unmeasured = begun and ranks.broadcast(
            self._lacks_evaluation(progress.step) if ranks.rank == 0 else False, "whether a step was measured"
        )
        if progress.step < steps or unmeasured:
            progress = self._train(session, learners, verifier, steps, progress, before, unmeasured)
        after = self._measure(session, "after")
        if self._speaks_metrics():
            MetricLines(ranks.rank).log(progress.step, as_metrics(after))
        with self._timeline.phase("final model"):
            self._save_models(session)
        return Outcome(progress, before, after)

    def _make_start(self, session: Session) -> None:
        """Bring policies with random weights to where reinforcement learning can begin."""
        if self._start is not None:
            start_from(self._start, session)
        else:
            cold_start_session(session, self._narrator)

    def _keep_references(self, session: Session, begun: bool, agents: Collection[str]) -> None:
        """What compares with the team before training does so also in a run that goes on."""
        if begun:
            start = self._checkpoints.start() if self._ranks.rank == 0 else None
            load_weights(start, session.policies, self._ranks)
        for agent, policy in session.policies.items():
            if agent in agents:
                with memory_errors(agent, "keeping its reference", _DECIDE_REFERENCE):
                    policy.keep_reference()

    def _forget_after(self, step: int) -> None:
        """Drop what a killed sitting recorded beyond its last checkpoint; it is about to be repeated."""
        # Step 0 is the evaluation before training, which a training that starts over logs again.
        JsonlSink(self._run.metrics).rewind(step or -1)
        for path in self._run.episodes.glob("step_*.jsonl"):
            if int(path.stem.removeprefix("step_")) > step:
                path.unlink()

    def _lacks_evaluation(self, step: int) -> bool:
        """Whether a sitting was stopped while it evaluated that step, of which it left a checkpoint."""
        every = self._config.train.eval_every
        if not (step and every) or step % every:
            return False
        row = next((row for row in read_metrics(self._run.metrics) if row["step"] == step), {})
        return "eval:accuracy" not in row

    def _measure(self, session: Session, when: str) -> dict[str, Any]:
        """Greedy and sampled accuracy, from the run's records if they were measured before."""
        path = self._run.evaluation / f"{when}.json"
        there = read_object(path) if self._ranks.rank == 0 else {}
        if found := self._ranks.broadcast(there, f"what was measured {when} training"):
            return found
        greedy = self._evaluate(session, Greedy(), f"{when}.greedy")
        sampled = self._evaluate(session, Sampled(self._config.run.seed), f"{when}.sampled")
        found = {
            "accuracy": greedy["accuracy"],
            "ci95": greedy["ci95"],
            "sampled": sampled["accuracy"],
            "sampled_ci95": sampled["ci95"],
            "n": greedy["n"],
            "invalid": greedy["invalid"],
            "sampled_invalid": sampled["invalid"],
            "tokens_per_question": sampled["tokens"] / sampled["n"],
        }
        if self._ranks.rank == 0:
            atomic_write(path, json.dumps(found, indent=1))
        low, high = found["ci95"]
        self._narrator.say(
            f"{self._label}{when} training: accuracy {found['accuracy']:.3f} [{low:.3f}, {high:.3f}] greedy, "
            f"{found['sampled']:.3f} sampled, {found['invalid']} of {found['n']} answers unreadable"
        )
        return found

    def _evaluate(self, session: Session, draws: Draws, name: str) -> dict[str, Any]:
        with self._timeline.phase("evaluation"):
            return evaluate(
                session.team,
                self._split.eval,
                draws=draws,
                batch_size=self._config.eval.batch_size,
                records=self._run.evaluation / f"{name}.records.jsonl",
                ranks=self._ranks,
                on_progress=lambda done, total: self._narrator.progress(
                    f"{self._label}evaluating, {name}: question", done, total
                ),
            ).to_json()

    def _train(
        self,
        session: Session,
        learners: Sequence[Learner],
        verifier: Verifier | None,
        steps: int,
        progress: Progress,
        before: Mapping[str, Any],
        unmeasured: bool,
    ) -> Progress:
        monitor = self._monitor(steps)
        try:
            if progress.step == 0 and self._ranks.rank == 0:
                monitor.log(0, as_metrics(before))
            trainer = Trainer(
                config=self._config,
                team=session.team,
                policies=session.policies,
                learners=learners,
                reward=self._rules.reward,
                credit=self._rules.credit,
                estimator=self._rules.estimator,
                questions=self._split.train,
                steps=steps,
                monitor=monitor,
                evaluator=lambda: as_metrics(self._evaluate(session, Greedy(), "during")),
                guards=self._guards(),
                checkpoints=self._checkpoints,
                stop=self._narrator.stop,
                ranks=self._ranks,
                timeline=self._timeline,
                verifier=verifier,
            )
            with self._timeline.phase("training", of=self._team):
                progress = trainer.run(progress, unmeasured=unmeasured)
        finally:
            monitor.close()
        if self._ranks.rank == 0:
            idle = [row["train:idle"] for row in read_metrics(self._run.metrics) if "train:idle" in row]
            if idle:
                self._narrator.say(f"{self._label}ranks waited {fmean(idle):.0%} of the rollouts")
        return progress

    def _guards(self) -> Guards:
        history = read_metrics(self._run.metrics) if self._ranks.rank == 0 else []
        config = self._config
        return Guards(
            config.train,
            config.team.names,
            self._rules.estimator.across_groups,
            history,
            self._checkpoints,
            lambda text: self._narrator.say(self._label + text),
        )

    def _monitor(self, steps: int) -> Monitor:
        sinks: list[Sink] = [ConsoleSink(self._narrator.display, steps)]
        sinks += [LogSink(log, self._label, steps) for log in self._narrator.logs]
        if self._ranks.rank != 0:
            return Monitor(sinks)
        if self._speaks_metrics():
            sinks.append(MetricLines(self._ranks.rank))
        if self._config.monitoring.wandb_mode != "disabled" and not self._label:
            sinks.append(WandbSink(self._config, self._run.path))
        return Monitor(sinks, metrics=JsonlSink(self._run.metrics), episodes=EpisodeFiles(self._run.episodes))

    def _speaks_metrics(self) -> bool:
        """Whether this rank tells a job's log what is measured of the run's own team."""
        return self._narrator.display == "job" and self._ranks.rank == 0 and not self._label

    def _save_models(self, session: Session) -> None:
        def files(agent: str) -> Files:
            with TemporaryDirectory() as folder:
                session.policies[agent].save(Path(folder))
                return {path.name: path.read_bytes() for path in Path(folder).iterdir()}

        for agent in self._ranks.placement.agents:
            target = self._run.final_model / agent
            there = self._ranks.broadcast(
                self._ranks.rank == 0 and target.exists(), "whether a model is saved"
            )
            if not there and (saved := self._ranks.hand_over(agent, files)):
                with atomic_dir(target) as draft:
                    for name, content in saved.items():
                        (draft / name).write_bytes(content)


def as_metrics(measured: Mapping[str, Any]) -> dict[str, float]:
    """What was measured of a team, under the names that metrics have."""
    metrics = {
        "eval:accuracy": float(measured["accuracy"]),
        "eval:invalid": measured["invalid"] / measured["n"],
    }
    if "sampled" in measured:
        metrics["eval:sampled_accuracy"] = float(measured["sampled"])
    return metrics
