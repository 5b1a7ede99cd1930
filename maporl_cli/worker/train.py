"""`maporl train`: one run from its config to its results."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from maporl_cli.agents.roles import role_book
from maporl_cli.agents.stage import stopped
from maporl_cli.core.atomic import atomic_write, discard
from maporl_cli.core.batch_arithmetic import accumulation_steps
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError, Interrupted, MaporlError, MissingError, RunFailed
from maporl_cli.core.manifest import note_sitting, refuse_changed_data, write_manifest
from maporl_cli.core.run_dir import RunDir, named, renamed
from maporl_cli.core.run_lock import alone_in
from maporl_cli.core.time_spent import time_spent
from maporl_cli.core.timeline import Timeline
from maporl_cli.data.splits import Split, load_split
from maporl_cli.monitoring.console import Display
from maporl_cli.monitoring.log_file import LogFile
from maporl_cli.monitoring.report import write_report
from maporl_cli.monitoring.wandb_sink import refuse_without_key
from maporl_cli.training.checkpoint import Checkpoints, read_weights
from maporl_cli.training.placement import place
from maporl_cli.training.questions import total_steps
from maporl_cli.training.ranks import LostContact, OneRank, Ranks
from maporl_cli.training.stop import StopRequest
from maporl_cli.worker.baselines import baseline_config, baseline_steps
from maporl_cli.worker.cautions import cautions, run_plainly
from maporl_cli.worker.job import describe, rank_line, refuse_unlike, waiting_hint
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.plugins import load_plugins, plugin_hashes
from maporl_cli.worker.rules import Rules, open_rules, refuse_rules
from maporl_cli.worker.session import open_session
from maporl_cli.worker.team_run import Outcome, TeamRun


def train(
    config: Config,
    *,
    resume: bool,
    overwrite: bool,
    command: str,
    display: Display,
    ranks: Ranks | None = None,
    profile: bool = False,
) -> dict[str, Any]:
    """Train the team and the baselines that `eval.baselines` names, and write the run's results.

    Args:
        resume: go on with the run that `run.name` names.
        overwrite: delete a run of that name first.
        command: the command line, for the manifest.
        display: how training is shown on stderr.
        ranks: with whom this process trains; None: alone.
        profile: write `profile.json`, a trace of what each rank did when.

    Returns:
        The `done` event: run, steps, and accuracy before, after and of each baseline. With `profile` also
        where the time of each rank went, on rank 0 (`core.time_spent`).

    Raises:
        MaporlError: whatever went wrong, with its fix. `Interrupted` after Ctrl-C or SIGTERM.
    """
    stop = StopRequest()
    ranks = ranks or OneRank(place(config.team.names, 1))
    load_plugins(config.run.plugins)
    accumulation_steps(config, ranks.placement.replicas)
    config = renamed(config, ranks.broadcast(named(config).run.name, "the run's name"))
    run = RunDir.of(config)
    with alone_in(run) if ranks.rank == 0 else nullcontext():
        # Rank 0's word, as for `resume` and `overwrite`: each host has a command line of its own.
        profile = ranks.broadcast(profile, "whether to keep a profile")
        timeline = Timeline(keep=profile)
        ranks.tell(timeline)
        with timeline.phase("run"):
            event = _train_run(
                config,
                resume=resume,
                overwrite=overwrite,
                command=command,
                narrator=Narrator(display, stop, run=config.run.name, rank=ranks.rank),
                ranks=ranks,
                timeline=timeline,
            )
        return event | {"profile": _keep_profile(run, timeline, ranks)} if profile else event


def _train_run(
    config: Config,
    *,
    resume: bool,
    overwrite: bool,
    command: str,
    narrator: Narrator,
    ranks: Ranks,
    timeline: Timeline,
) -> dict[str, Any]:
    """`train`, in a run that has its name and is nobody else's."""
    stop = narrator.stop
    run = RunDir.of(config)
    if ranks.rank == 0:
        RunDir.refuse(config, resume=resume, overwrite=overwrite)
    with timeline.phase("setup"):
        split = load_split(config)
        sources = split.sources | plugin_hashes(config.run.plugins)
        refuse_unlike(ranks, config, sources)
        if resume and ranks.rank == 0:
            refuse_changed_data(run, sources)
        refuse_rules(config, role_book(config.team.roles))
        # Before a run is opened, since that may delete another: data and model may turn out to be bad.
        session = open_session(config, narrator, ranks, timeline)
        rules = open_rules(config, session.book)
    if ranks.rank == 0:
        refuse_without_key(config.monitoring)
    topology = describe(ranks)
    with stop:  # until here nothing would be lost, so Ctrl-C struck at once
        if ranks.rank == 0:
            if not resume:
                run = RunDir.open_new(config, overwrite=overwrite)
            if run.manifest.exists():
                note_sitting(run, command=command, topology=topology)
            else:
                write_manifest(run, config, command=command, sources=sources, topology=topology)
        ranks.broadcast(None, "the run's directory")
        narrator.logs = [LogFile(run.rank_log(ranks.rank))]
        if ranks.rank == 0:
            narrator.logs.append(LogFile(run.training_log))
        narrator.say(rank_line(ranks))
        if hint := waiting_hint(config, session.ranks.placement):
            narrator.say(hint)
        for caution in cautions(config):
            narrator.say(f"caution: {caution}")
        for note in run_plainly(session.policies):
            narrator.say(note)
        for note in split.notes:
            narrator.say(note)
        steps = total_steps(config.train, len(split.train))
        began = time.time()
        try:
            team = TeamRun(
                session, rules, run, split, steps=lambda _: steps, narrator=narrator, timeline=timeline
            ).go()
            baselines = {
                name: _baseline(name, config, rules, run, split, team, narrator, ranks, timeline)
                for name in config.eval.baselines
            }
        except (ConfigError, DataError, MissingError):
            if ranks.rank == 0 and not resume and not run.checkpoints.exists():
                discard(run.path)  # it never began: the corrected command shall not find it in its way
            raise
        except (Interrupted, RunFailed) as error:
            if ranks.rank == 0:
                _report_so_far(run, narrator)
            if isinstance(error, LostContact) and stop.requested:
                raise stopped() from error  # the other rank was asked to stop as well, and has left
            LogFile(run.rank_log(ranks.rank)).say(error.message)
            raise
        event = {
            "event": "done",
            "run": str(run.path),
            "steps": team.progress.step,
            "eval": {"before": team.before, "after": team.after, **baselines},
        }
        with timeline.phase("report"):
            if ranks.rank == 0:
                _write_results(run, config, split, team, event, topology, time.time() - began)
                write_report(run)
            ranks.broadcast(None, "the end of the run")
        return event


def _keep_profile(run: RunDir, timeline: Timeline, ranks: Ranks) -> list[dict[str, Any]]:
    """Write `profile.json`; where the time of each rank went, on rank 0."""
    traces = ranks.gather(timeline.trace(ranks.rank, rank_line(ranks)), "the profile")
    events = [event for trace in traces for event in trace]
    if ranks.rank == 0:
        atomic_write(run.profile, json.dumps({"traceEvents": events}))
    # A rank that left now would take what it has sent, but rank 0 not yet read, with it.
    ranks.broadcast(None, "the end of the profile")
    return [rank.to_json() for rank in time_spent(events)]


def _report_so_far(run: RunDir, narrator: Narrator) -> None:
    """The page of a run that stopped; where it cannot be written, why the run stopped matters more."""
    try:
        write_report(run)
    except MaporlError as error:
        narrator.say(f"{run.report} could not be written: {error.what}")


def _baseline(
    name: str,
    config: Config,
    rules: Rules,
    run: RunDir,
    split: Split,
    team: Outcome,
    narrator: Narrator,
    ranks: Ranks,
    timeline: Timeline,
) -> dict[str, Any]:
    alone = baseline_config(config, name)
    home = RunDir(run.path / "baselines" / name)
    start = None
    if ranks.rank == 0:
        home.write_config(alone)
    with timeline.phase(f"baseline {name}"):
        if config.train.cold_start.role_steps:
            start = {}
            if ranks.rank == 0:
                first = Checkpoints(run.checkpoints, keep=config.train.keep_checkpoints).start()
                start = read_weights(first, config.team.agents[-1].name)
        outcome = TeamRun(
            open_session(alone, narrator, ranks, timeline),
            rules,
            home,
            split,
            steps=lambda before: baseline_steps(alone, name, team.progress, before),
            narrator=narrator,
            timeline=timeline,
            start=start,
            label=name,
        ).go()
    return {**outcome.after, "steps": outcome.progress.step, "train_tokens": outcome.progress.tokens}


def _write_results(
    run: RunDir,
    config: Config,
    split: Split,
    team: Outcome,
    event: Mapping[str, Any],
    topology: Mapping[str, Any],
    seconds: float,
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
        "agents": list(config.team.names),
        "model": config.model.name,
        "algorithm": config.train.algorithm,
        "credit": config.train.credit,
        "questions": {"train": len(split.train), "eval": len(split.eval)},
        "data": split.sources,
        "topology": topology,
        "outcome": "done",
    }
    atomic_write(run.results, json.dumps(results, indent=2))
    atomic_write(run.summary, json.dumps(summary, indent=2))
