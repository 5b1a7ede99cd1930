"""`maporl tune --on sagemaker`: what the tuning job is and may cost, a question, its start, its way home."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from maporl_cli.cli.confirm import confirm
from maporl_cli.cli.launch import job_lines
from maporl_cli.cli.output import emit, result, say
from maporl_cli.cli.study_tables import show_study
from maporl_cli.cli.transfer import transfer
from maporl_cli.core.errors import ConfigError, Interrupted, UsageError

if TYPE_CHECKING:
    from maporl_cli.backends.sagemaker.plan import JobPlan
    from maporl_cli.core.config import Config


def launch_study(
    config: Config,
    *,
    overwrite: bool,
    dry_run: bool,
    json: bool,
    yes: bool,
    detach: bool,
    max_cost: float | None,
) -> None:
    """Start the study of `config` as a tuning job, watch it, and bring home what it finds.

    Args:
        overwrite: replace a study of that name here.
        dry_run: print the request that would start it, and send nothing.
        yes: do not ask.
        detach: leave it alone once it has started.
        max_cost: US dollars; a tuning job that may cost more is not started.

    Raises:
        MaporlError: something is missing, contradicts itself or costs too much; nothing was started then.
    """
    from maporl_cli.backends.sagemaker.checks import check_job
    from maporl_cli.backends.sagemaker.launch import send_inputs
    from maporl_cli.backends.sagemaker.paths import STUDY_CONFIG
    from maporl_cli.backends.sagemaker.plan import plan_job
    from maporl_cli.backends.sagemaker.tuning_job import create_tuning_job, tuning_name, tuning_request
    from maporl_cli.core.config_yaml import to_yaml
    from maporl_cli.core.run_dir import named
    from maporl_cli.tuning.on_sagemaker import parameter_ranges, trial_job

    config = named(config)
    job = plan_job(trial_job(config), resume=False, max_cost=max_cost, trials=config.tune.max_trials)
    job.inputs.notes[STUDY_CONFIG] = to_yaml(config)
    ranges = parameter_ranges(config)
    if not detach:
        _refuse_occupied(config, overwrite=overwrite)
    for line in job_lines(job):
        say(line.rstrip())
    say(_cost_line(job, config))
    if dry_run:
        request = tuning_request(config, job.request(lambda file, key: None), ranges)
        emit(request) if json else result(jsonlib.dumps(request, indent=2))
        return
    bucket = check_job(job, resume=False)
    name = tuning_name(job.name)
    unstarted = Interrupted(f"{name} was not started.", fix="start it with the same command")
    try:
        if not yes:
            confirm(
                f"Start {name}?",
                command="--yes starts it without asking, --dry-run shows it",
                otherwise=unstarted,
            )
        with transfer(None) as on_bytes:
            request = tuning_request(config, send_inputs(job, bucket, on_bytes), ranges)
    except KeyboardInterrupt:
        raise unstarted from None
    create_tuning_job(job.session, request)
    say(f"Started {name}. Ctrl-C leaves it alone; maporl jobs stop {name} stops it.")
    if not detach:
        _bring_home(config, name, job.session, overwrite=overwrite, json=json)
    elif json:
        emit({"event": "started", "tuning_job": name, "study": config.run.name})
    else:
        result(name)


def watch_study(place: Config, told: Callable[[Path], Config], *, overwrite: bool, json: bool) -> None:
    """Watch a tuning job that was started before, and bring home what it finds.

    Args:
        place: what is said of the study's name, of where it comes to lie, and of the region.
        told: the settings that were typed, laid over those of a file; these are the study's own.

    Raises:
        UsageError: it is not said which.
        ConfigError: it was started with other settings than those that were typed.
        MaporlError: there is none of that name, or none of its trials came to anything.
    """
    from maporl_cli.backends.sagemaker.plan import job_name
    from maporl_cli.backends.sagemaker.tuning_job import described_tuning, tuning_name
    from maporl_cli.core.config_sources import load_config
    from maporl_cli.data.aws import aws_session
    from maporl_cli.tuning.on_sagemaker import study_config
    from maporl_cli.tuning.study_dir import refuse_other_search

    if place.run.name is None:
        raise UsageError("--resume needs to know which study.", fix="--resume --name NAME")
    session = aws_session(place.sagemaker.region)
    name = tuning_name(job_name(place.run.name, resume=False))
    with TemporaryDirectory(prefix="maporl-") as folder:
        file = study_config(session, described_tuning(session, name), Path(folder))
        config = told(file)
        refuse_other_search(load_config(file=file).config, config, where=name)
    _refuse_occupied(config, overwrite=overwrite)
    _bring_home(config, name, session, overwrite=overwrite, json=json)


def _refuse_occupied(config: Config, *, overwrite: bool) -> None:
    from maporl_cli.tuning.study_dir import StudyDir

    home = StudyDir.of(config).path
    if home.exists() and not overwrite:
        raise ConfigError(
            f"{home} exists, where the study would come to lie.",
            fix="--overwrite, if it is a study that may be replaced; or another --output-dir",
        )


def _bring_home(config: Config, name: str, session: Any, *, overwrite: bool, json: bool) -> None:
    from maporl_cli.tuning.on_sagemaker import bring_home, watch

    watch(session, name, say)
    found = bring_home(session, name, config, overwrite=overwrite, transfer=transfer, say=say)
    emit({**found, "tuning_job": name}) if json else show_study(found)


def _cost_line(job: JobPlan, config: Config) -> str:
    trials = f"{config.tune.max_trials} trials, {config.tune.parallel or 1} at a time"
    if job.limit is None:
        return f"{trials}: the price is unknown"
    return f"{trials}: at most ${job.limit * config.tune.max_trials:,.2f} in all"
