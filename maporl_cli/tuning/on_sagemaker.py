"""A study on SageMaker: its trials are the jobs of a tuning job, and what they come to is a study here."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import parse_value
from maporl_cli.core.errors import ConfigError, Interrupted, MaporlError, MissingError
from maporl_cli.core.trial_values import value_at, with_values
from maporl_cli.data.splits import load_split
from maporl_cli.training.questions import total_steps
from maporl_cli.tuning.confirm import Confirmation
from maporl_cli.tuning.results import winner
from maporl_cli.tuning.search import FAILURE, Say, trial_name
from maporl_cli.tuning.space import distributions, trial_config
from maporl_cli.tuning.study import open_study
from maporl_cli.tuning.study_dir import StudyDir
from maporl_cli.tuning.tune import close_study

if TYPE_CHECKING:
    from boto3.session import Session

    from maporl_cli.backends.sagemaker.fetch import Transfer
    from maporl_cli.backends.sagemaker.jobs import Job

POLL_SECONDS = 20.0
_MOST, _MOST_PARENTS = 30, 5
_STATES = {"Completed": TrialState.COMPLETE, "Stopped": TrialState.PRUNED, "Failed": TrialState.FAIL}


def trial_job(config: Config) -> Config:
    """The config that every trial of a tuning job begins with; its own values are laid over it there.

    Raises:
        ConfigError, DataError: there is nothing to train on, or nothing that can be searched.
    """
    distributions(config)
    plain = trial_config(config, {}, name=str(config.run.name))
    # How many steps a trial has may be searched; how many lie between its evaluations may not.
    steps = total_steps(plain.train, len(load_split(plain).train))
    found = trial_config(
        config, {}, name=str(config.run.name), steps_between=-(-steps // config.tune.evaluations)
    )
    return found.model_copy(update={"run": config.run})


def parameter_ranges(config: Config) -> dict[str, list[dict[str, Any]]]:
    """What is searched, as the ParameterRanges of SageMaker's API; all values are text there."""
    _refuse_too_much(config)
    ranges: dict[str, list[dict[str, Any]]] = {
        f"{kind}ParameterRanges": [] for kind in ("Categorical", "Continuous", "Integer")
    }
    for key, kind in distributions(config).items():
        if isinstance(kind, CategoricalDistribution):
            told = {"Name": key, "Values": [_as_text(choice) for choice in kind.choices]}
            ranges["CategoricalParameterRanges"].append(told)
        elif isinstance(kind, FloatDistribution | IntDistribution):
            which = "Continuous" if isinstance(kind, FloatDistribution) else "Integer"
            ends = {"MinValue": _as_text(kind.low), "MaxValue": _as_text(kind.high)}
            scale = {"ScalingType": "Logarithmic" if kind.log else "Linear"}
            ranges[f"{which}ParameterRanges"].append({"Name": key, **ends, **scale})
    return {name: told for name, told in ranges.items() if told}


def _refuse_too_much(config: Config) -> None:
    """Nothing, where the API takes so much (ParameterRanges, HyperParameterTuningJobWarmStartConfig)."""
    space = config.tune.space
    counts = {f"{len(space)} keys are searched": len(space)}
    counts |= {
        f"{key} has {len(one)} choices": len(one) for key, one in space.items() if isinstance(one, tuple)
    }
    for told, count in counts.items():
        if count > _MOST:
            raise ConfigError(
                f"{told}, and a tuning job may have {_MOST}.", where="tune.space", fix="search less at once"
            )
    if len(config.tune.warm_start) > _MOST_PARENTS:
        raise ConfigError(
            f"A tuning job learns from at most {_MOST_PARENTS} earlier ones.",
            where="tune.warm_start",
            fix="name the best of them",
        )


def study_config(session: Session, tuning_job: Mapping[str, Any], folder: Path) -> Path:
    """The config that a tuning job's study was started with, as a file in `folder`.

    Raises:
        MissingError: the tuning job is not ours.
        MaporlError: as `aws_errors`.
    """
    from maporl_cli.backends.sagemaker.jobs import channel_uri
    from maporl_cli.backends.sagemaker.paths import CONFIG_CHANNEL, STUDY_CONFIG
    from maporl_cli.data.s3 import Bucket, place_of

    uri = channel_uri(tuning_job.get("TrainingJobDefinition", {}), CONFIG_CHANNEL)
    name, key = place_of(f"{uri}/{STUDY_CONFIG}")
    bucket = Bucket(name, session)
    if uri is None or bucket.size(key) is None:
        raise MissingError(
            f"The tuning job {tuning_job['HyperParameterTuningJobName']} was not started by maporl.",
            why=f"it has no channel {CONFIG_CHANNEL!r} with a {STUDY_CONFIG}",
            fix="give the --name, and the --region, of a study that `maporl tune --on sagemaker` started",
        )
    bucket.download(key, folder / STUDY_CONFIG, lambda _: None)
    return folder / STUDY_CONFIG


def watch(session: Session, name: str, say: Say) -> None:
    """Wait for a tuning job to end, and tell how it fares.

    Raises:
        Interrupted: Ctrl-C; it goes on.
        MaporlError: as `described_tuning`.
    """
    from maporl_cli.backends.sagemaker.tuning_job import ENDED, described_tuning

    told = ""
    try:
        while True:
            found = described_tuning(session, name)
            if (line := _progress(name, found)) != told:
                say(line)
                told = line
            if found["HyperParameterTuningJobStatus"] in ENDED:
                return
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{name} goes on.",
            fix="the same command with --resume watches it again and brings home what it finds; "
            f"maporl jobs stop {name} stops it",
        ) from None


def bring_home(
    session: Session, name: str, config: Config, *, overwrite: bool, transfer: Transfer, say: Say
) -> dict[str, Any]:
    """Make a study here of what a tuning job did: its trials as runs, their record, the page and `best.yaml`.

    Args:
        name: of the tuning job, which has ended.
        config: of the study.
        overwrite: replace a study that is there.

    Returns:
        The `done` event.

    Raises:
        MaporlError: none of the trials came to anything, or AWS refuses.
    """
    from maporl_cli.backends.sagemaker.fetch import fetch
    from maporl_cli.backends.sagemaker.tuning_job import trials_of

    jobs = trials_of(session, name)
    home = StudyDir.open_new(config, overwrite=overwrite)
    space = distributions(config)
    with open_study(home, config.tune) as study:
        for number, job in enumerate(jobs):
            values = tried(config, job, space)
            _record(study, job, values, space, config.tune.objective)
            mine = trial_config(config, values, name=trial_name(number))
            try:
                fetch(session, job, output_dir=None, overwrite=False, transfer=transfer, config=mine)
            except MaporlError as error:
                say(f"trial {number} ({job.name}) is not here: {error.what}")
        best = winner(study)
        nothing = Confirmation(config, best.number, best.params, say)
        return close_study(home, config, study, nothing, questions=_tuning_questions(config))


def tried(config: Config, job: Job, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The values of a trial, as its job was given them, with the types that their keys have.

    Raises:
        ConfigError: it is no trial of this study.
    """
    told: Mapping[str, str] = job.description.get("HyperParameters", {})
    if missing := sorted(space.keys() - told.keys()):
        raise ConfigError(
            f"The job {job.name} has no value of {', '.join(missing)}.",
            why="it is a trial of a study that searched something else",
            fix="give the settings that the study was started with, or another --name",
        )
    parsed = {key: parse_value(told[key]) for key in space}
    whole = with_values(config, parsed, job.name)
    return {key: value_at(whole, key) for key in space}


def _record(
    study: Study,
    job: Job,
    values: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
    objective: str,
) -> None:
    from maporl_cli.backends.sagemaker.jobs import OUT_OF_TIME

    late = job.secondary == "MaxRuntimeExceeded"  # no search has judged it
    state = TrialState.FAIL if late else _STATES.get(job.status, TrialState.FAIL)
    final = job.description.get("FinalMetricDataList", [])
    measured = {one["MetricName"]: one["Value"] for one in final}.get(objective)
    if state is TrialState.COMPLETE and measured is None:
        state = TrialState.FAIL
    attributes: dict[str, Any] = {"seconds": job.description.get("TrainingTimeInSeconds")}
    if state is TrialState.FAIL:
        why = OUT_OF_TIME[job.secondary] if late else f"{objective} was not read from its log"
        attributes[FAILURE] = job.failure or why
    study.add_trial(
        create_trial(
            state=state,
            value=measured if state is TrialState.COMPLETE else None,
            params=dict(values),
            distributions=dict(space),
            user_attrs=attributes,
        )
    )


def _tuning_questions(config: Config) -> int:
    return len(load_split(trial_config(config, {}, name="any")).eval)


def _progress(name: str, found: Mapping[str, Any]) -> str:
    counts = found.get("TrainingJobStatusCounters", {})
    ended = sum(counts.get(kind, 0) for kind in ("Completed", "Stopped", "NonRetryableError"))
    most = found["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    best = found.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric", {})
    so_far = f", the best {best['Value']:.3f}" if "Value" in best else ""
    return (
        f"{name}: {found['HyperParameterTuningJobStatus']}, {ended} of {most} trials ended, "
        f"{counts.get('InProgress', 0)} going on{so_far}"
    )


def _as_text(value: Any) -> str:
    """As the container reads it: text that YAML would take for something else in quotes."""
    if isinstance(value, str) and parse_value(value) == value:
        return value
    return json.dumps(value)
