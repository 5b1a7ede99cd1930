"""The search: trial after trial is trained, watched, perhaps stopped early, and told to the study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.splits import load_split
from maporl_cli.monitoring.jsonl import read_metrics
from maporl_cli.monitoring.wording import setting
from maporl_cli.training.questions import total_steps
from maporl_cli.tuning.runs import Job
from maporl_cli.tuning.space import Values, trial_config
from maporl_cli.tuning.study import sampler
from maporl_cli.worker.team_run import as_metrics

_HOPELESS = 3
"""So many trials have failed, and none has done anything else: another would fail as well."""
FAILURE = "failure"
"""Of a failed trial, why: the name under which the study keeps it."""
TWIN = "same_as"
"""Of a trial that was not trained, the number of the one that had its values before."""
Say = Callable[[str], None]


class Search:
    """The trials of a study, in their order; those that were cut short by a kill come first.

    Args:
        study: their record.
        config: of the study.
        space: what their values are drawn from.
        say: told what becomes of them.
    """

    def __init__(self, study: Study, config: Config, space: Mapping[str, BaseDistribution], say: Say) -> None:
        self._study, self._config, self._space, self._say = study, config, dict(space), say
        split = load_split(trial_config(config, {}, name="any"))
        self._questions = len(split.train)
        self.tuning_questions = len(split.eval)

    def jobs(self) -> Iterator[Job]:
        """The trials that are still to be trained, each chosen only when it is asked for.

        Raises:
            RunFailed: nothing but failures came of the first ones.
        """
        for cut_short in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._choose(cut_short.number)
            yield from self._job(Trial(self._study, cut_short._trial_id))  # pyright: ignore[reportPrivateUsage]
        while (number := len(self._study.get_trials(deepcopy=False))) < self._config.tune.max_trials:
            self._refuse_hopeless()
            self._choose(number)
            yield from self._job(self._study.ask())

    def _choose(self, number: int) -> None:
        self._study.sampler = sampler(self._config.tune, self._config.run.seed, number)

    def _job(self, trial: Trial) -> Iterator[TrialJob]:
        """The trial's run, where its values can stand together."""
        # A trial that was cut short has its values already, and gets the same.
        values = {key: suggested(trial, key, kind) for key, kind in self._space.items()}
        told = ", ".join(f"{key} {setting(value)}" for key, value in values.items())
        self._say(f"trial {trial.number}: {told}")
        if twin := self._twin(values):
            self._tell_as(trial, twin)
            return
        try:
            config = self._config_of(trial, values)
        except ConfigError as error:
            fail(self._study, trial, error.message, self._say)
        else:
            yield TrialJob(config, trial, self._study, self._say)

    def _config_of(self, trial: Trial, values: Values) -> Config:
        name = trial_name(trial.number)
        plain = trial_config(self._config, values, name=name)
        steps = total_steps(plain.train, self._questions)
        between = -(-steps // self._config.tune.evaluations)
        return trial_config(self._config, values, name=name, steps_between=between)

    def _twin(self, values: Values) -> FrozenTrial | None:
        """The trial that had these values and came to an end: a seed learns the same from them again."""
        ended = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        alike = (one for one in ended if one.params == values and TWIN not in one.user_attrs)
        return next(alike, None)

    def _tell_as(self, trial: Trial, twin: FrozenTrial) -> None:
        trial.set_user_attr(TWIN, twin.number)
        if twin.state is TrialState.PRUNED:
            self._study.tell(trial, state=TrialState.PRUNED)
            became = "stopped early"
        else:
            self._study.tell(trial, twin.value)
            became = f"{twin.value:.3f}"
        self._say(f"trial {trial.number}: {became}, as trial {twin.number} was, which had the same values")

    def _refuse_hopeless(self) -> None:
        trials = self._study.get_trials(deepcopy=False)
        if len(trials) >= _HOPELESS and all(trial.state is TrialState.FAIL for trial in trials):
            raise RunFailed(
                f"The first {len(trials)} trials have all failed.",
                where=self._config.run.name or "",
                why=str(trials[-1].user_attrs[FAILURE]).splitlines()[0],
                fix="try the settings with maporl train first; then another study, or --overwrite",
            )


class TrialJob:
    """A trial that trains.

    Attributes:
        config: of its run.
    """

    def __init__(self, config: Config, trial: Trial, study: Study, say: Say) -> None:
        self.config = config
        self._trial, self._study, self._say = trial, study, say
        self._known = set(study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        self._hopeful = not trial.should_prune()

    def goes_on(self) -> bool:
        """Tells the study how good it is on the way; False where that is too bad."""
        for part, value in on_the_way(self.config):
            if part not in self._known:
                self._known.add(part)
                self._trial.report(value, part)
                self._hopeful = not self._trial.should_prune()
                parts = f"{part} of {self.config.tune.evaluations} parts"
                self._say(f"trial {self._trial.number}: {value:.3f} after {parts}")
        return self._hopeful

    def done(self, results: Mapping[str, Any]) -> None:
        self.goes_on()  # what was measured since it was last asked
        value = objective(results, self.config.tune.objective)
        self._trial.set_user_attr("seconds", results["train_seconds"])
        self._study.tell(self._trial, value)
        best = self._study.best_trial.number == self._trial.number
        self._say(f"trial {self._trial.number}: {value:.3f} at its end{', the best so far' if best else ''}")

    def stopped(self) -> None:
        self._study.tell(self._trial, state=TrialState.PRUNED)
        self._say(f"trial {self._trial.number}: stopped early, as worse than others were there")

    def failed(self, why: str) -> None:
        fail(self._study, self._trial, why, self._say)


def fail(study: Study, trial: Trial, why: str, say: Say) -> None:
    """A trial without a value; it is never given one."""
    trial.set_user_attr(FAILURE, why)
    study.tell(trial, state=TrialState.FAIL)
    say(f"trial {trial.number} failed: {why}")


def objective(results: Mapping[str, Any], name: str) -> float:
    """The metric of that name at the end of a run, from its `training_results.json`."""
    return as_metrics(results["eval"]["after"])[name]


def on_the_way(config: Config) -> list[tuple[int, float]]:
    """(part, accuracy) of a trial's run, parts of its training counted from 1; its end is none of them."""
    metrics = read_metrics(RunDir.of(config).metrics)
    found = [
        (row["step"] // config.train.eval_every, row["eval:accuracy"])
        for row in metrics
        if row["step"] and "eval:accuracy" in row
    ]
    return [(part, value) for part, value in found if part < config.tune.evaluations]


def trial_name(number: int) -> str:
    """The name of a trial's run."""
    return f"trial_{number:03d}"


def suggested(trial: Trial, key: str, kind: BaseDistribution) -> Any:
    """The value that a trial has of a searched key."""
    match kind:
        case FloatDistribution():
            return trial.suggest_float(key, kind.low, kind.high, log=kind.log)
        case IntDistribution():
            return trial.suggest_int(key, kind.low, kind.high, log=kind.log)
        case CategoricalDistribution():
            return trial.suggest_categorical(key, kind.choices)
        case _:
            raise TypeError(kind)
