"""What a study came to: each trial, what mattered, the winner, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, median
from typing import Any

from optuna import Study
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from maporl_cli.core.errors import RunFailed
from maporl_cli.evaluation.statistics import wilson
from maporl_cli.monitoring.row_plots import Interval
from maporl_cli.monitoring.wording import percent
from maporl_cli.tuning.confirm import Confirmation, mean_interval
from maporl_cli.tuning.search import FAILURE, TWIN, trial_name
from maporl_cli.tuning.study import finished
from maporl_cli.tuning.study_dir import StudyDir

_FEW = 4
"""Finished trials that say something of what mattered; fewer do not."""
_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}


def winner(study: Study) -> FrozenTrial:
    """The best of the finished trials, the first of equals.

    Raises:
        RunFailed: none has finished.
    """
    done = finished(study)
    if not done:
        trials = study.get_trials(deepcopy=False)
        failures = [str(trial.user_attrs[FAILURE]) for trial in trials if FAILURE in trial.user_attrs]
        raise RunFailed(
            f"None of the {len(trials)} trials has finished.",
            why=failures[-1].splitlines()[0] if failures else "all were stopped early",
            fix="try the settings with maporl train first; then more trials with --resume and a higher "
            "tune.max_trials, or another study",
        )
    return max(done, key=lambda trial: (trial.value or 0.0, -trial.number))


def study_results(
    home: StudyDir, study: Study, confirmation: Confirmation, *, questions: int
) -> dict[str, Any]:
    """The study as JSON.

    Args:
        questions: that each value was measured on.
    """
    best = winner(study)
    values = [trial.value or 0.0 for trial in finished(study)]
    again = [confirmation.found[seed] for seed in sorted(confirmation.found)]
    return {
        "study": str(home.path),
        "space": list(confirmation.config.tune.space),
        "objective": confirmation.config.tune.objective,
        "tuning_questions": questions,
        "best": {
            "trial": best.number,
            "value": best.value,
            "values": best.params,
            "run": str(home.run(trial_name(best.number)).path),
            "config": str(home.best),
            "seeds": {str(seed): confirmation.found[seed] for seed in sorted(confirmation.found)},
            "failed_seeds": {str(seed): why for seed, why in sorted(confirmation.failures.items())},
            "mean": fmean(again) if again else None,
            "ci95": mean_interval(again),
        },
        "finished": len(values),
        "median": median(values),
        "importance": importance(study, seed=confirmation.config.run.seed),
        "trials": [_trial(home, trial) for trial in study.get_trials(deepcopy=False)],
    }


def seed_intervals(found: Mapping[str, Any]) -> list[Interval]:
    """The winner as it was found and with each fresh seed, with the 95 % Wilson interval of its questions."""
    n, best = found["tuning_questions"], found["best"]
    rows = {f"trial {best['trial']}, as it was found": best["value"]}
    rows |= {f"seed {seed}": value for seed, value in best["seeds"].items()}
    return [
        Interval(label, value, *wilson(round(value * n), n), percent(value)) for label, value in rows.items()
    ]


def importance(study: Study, *, seed: int) -> dict[str, float]:
    """The share of the values' variance that each searched key explains, largest first; empty of few trials.

    Hutter, Hoos and Leyton-Brown 2014, functional ANOVA over a random forest.
    """
    done = finished(study)
    if len(done) < _FEW or len({trial.value for trial in done}) == 1:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))


def _trial(home: StudyDir, trial: FrozenTrial) -> Mapping[str, Any]:
    return {
        "trial": trial.number,
        "state": _STATES[trial.state],
        "value": trial.value if trial.state is TrialState.COMPLETE else None,
        "values": trial.params,
        "on_the_way": {str(part): value for part, value in trial.intermediate_values.items()},
        "seconds": trial.user_attrs.get("seconds"),
        "failure": trial.user_attrs.get(FAILURE),
        "same_as": trial.user_attrs.get(TWIN),
        "run": str(home.run(trial_name(trial.user_attrs.get(TWIN, trial.number))).path),
    }
