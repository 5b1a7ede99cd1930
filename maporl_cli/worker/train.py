"""`maporl train`: one run from its config to its results."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import torch

from maporl_cli.core.atomic import atomic_write, discard
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError, Interrupted, MaporlError, MissingError, RunFailed
from maporl_cli.core.manifest import note_sitting, refuse_changed_data, write_manifest
from maporl_cli.core.run_dir import RunDir, named
from maporl_cli.data.splits import Split, load_split
from maporl_cli.monitoring.console import Display
from maporl_cli.monitoring.log_file import LogFile
from maporl_cli.monitoring.report import write_report
from maporl_cli.monitoring.wandb_sink import refuse_without_key
from maporl_cli.training.checkpoint import Checkpoints, read_weights
from maporl_cli.training.questions import total_steps
from maporl_cli.training.stop import StopRequest
from maporl_cli.worker.baselines import baseline_config, baseline_steps
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.plugins import load_plugins, plugin_hashes
from maporl_cli.worker.session import Rules, open_rules, open_session
from maporl_cli.worker.team_run import Outcome, TeamRun


def train(config: Config, *, resume: bool, overwrite: bool, command: str, display: Display) -> dict[str, Any]:
    """Train the team and the baselines that `eval.baselines` names, and write the run's results.

    Args:
        resume: go on with the run that `run.name` names.
        overwrite: delete a run of that name first.
        command: the command line, for the manifest.
        display: how training is shown on stderr.

    Returns:
        The `done` event: run, steps, and accuracy before, after and of each baseline.

    Raises:
        MaporlError: whatever went wrong, with its fix. `Interrupted` after Ctrl-C or SIGTERM.
    """
    load_plugins(config.run.plugins)
    stop = StopRequest()
    if not resume:
        config = named(config)
    narrator = Narrator(display, stop, run=config.run.name)
    begun = RunDir.for_resume(config) if resume else None
    if begun is None:
        RunDir.refuse_to_lose(config, overwrite=overwrite)
    split = load_split(config)
    sources = split.sources | plugin_hashes(config.run.plugins)
    if begun is not None:
        refuse_changed_data(begun, sources)
    # Before a run is opened, since that may delete another: data and model may turn out to be bad.
    session = open_session(config, narrator)
    rules = open_rules(config, session.book)
    for name in config.eval.baselines:
        session.book.role(baseline_config(config, name).team.agents[0].name)
    refuse_without_key(config.monitoring)
    with stop:  # until here nothing would be lost, so Ctrl-C struck at once
        run = begun or RunDir.open_new(config, overwrite=overwrite)
        narrator.log = LogFile(run.training_log)
        for note in split.notes:
            narrator.say(note)
        if run.manifest.exists():
            note_sitting(run, command=command, topology=_topology())
        else:
            write_manifest(run, config, command=command, sources=sources, topology=_topology())
        steps = total_steps(config.train, len(split.train))
        began = time.time()
        try:
            team = TeamRun(session, rules, run, split, steps=lambda _: steps, narrator=narrator).go()
            baselines = {
                name: _baseline(name, config, rules, run, split, team, narrator)
                for name in config.eval.baselines
            }
        except (ConfigError, DataError, MissingError):
            if not resume and not run.checkpoints.exists():
                discard(run.path)  # it never began: the corrected command shall not find it in its way
            raise
        except (Interrupted, RunFailed):
            _report_so_far(run, narrator)
            raise
        event = {
            "event": "done",
            "run": str(run.path),
            "steps": team.progress.step,
            "eval": {"before": team.before, "after": team.after, **baselines},
        }
        _write_results(run, config, split, team, event, time.time() - began)
        write_report(run)
        return event


def _report_so_far(run: RunDir, narrator: Narrator) -> None:
    """The page of a run that stopped; where it cannot be written, why the run stopped matters more."""
    try:
        write_report(run)
    except MaporlError as error:
        narrator.say(f"{run.report} could not be written: {error.what}")


def _baseline(
    name: str, config: Config, rules: Rules, run: RunDir, split: Split, team: Outcome, narrator: Narrator
) -> dict[str, Any]:
    alone = baseline_config(config, name)
    home = RunDir(run.path / "baselines" / name)
    home.write_config(alone)
    start = None
    if config.train.cold_start.role_steps:
        first = Checkpoints(run.checkpoints, keep=config.train.keep_checkpoints).start()
        start = read_weights(first, config.team.agents[-1].name)
    outcome = TeamRun(
        open_session(alone, narrator),
        rules,
        home,
        split,
        steps=lambda before: baseline_steps(alone, name, team.progress, before),
        narrator=narrator,
        start=start,
        label=name,
    ).go()
    return {**outcome.after, "steps": outcome.progress.step, "train_tokens": outcome.progress.tokens}


def _topology() -> dict[str, Any]:
    return {
        "world_size": 1,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


def _write_results(
    run: RunDir, config: Config, split: Split, team: Outcome, event: Mapping[str, Any], seconds: float
) -> None:
    results = {
        "run": event["run"],
        "steps": event["steps"],
        "eval": event["eval"],
        "train_seconds": team.progress.seconds,
        "train_tokens": team.progress.tokens,
        "this_sitting_seconds": seconds,
    }
    summary = {
        "agents": [seat.name for seat in config.team.agents],
        "model": config.model.name,
        "algorithm": config.train.algorithm,
        "credit": config.train.credit,
        "questions": {"train": len(split.train), "eval": len(split.eval)},
        "data": split.sources,
        "topology": _topology(),
        "outcome": "done",
    }
    atomic_write(run.results, json.dumps(results, indent=2))
    atomic_write(run.summary, json.dumps(summary, indent=2))
