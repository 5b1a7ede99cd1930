"""`maporl tune`: a study from its config to its results."""

from __future__ import annotations

import json
from typing import Any

from optuna import Study

from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.run_dir import RunDir, named
from maporl_cli.core.run_lock import alone_in
from maporl_cli.monitoring.study_page import write_study
from maporl_cli.training.stop import StopRequest
from maporl_cli.tuning.confirm import Confirmation
from maporl_cli.tuning.results import seed_intervals, study_results, winner
from maporl_cli.tuning.runs import Place, places, train_all
from maporl_cli.tuning.search import Say, Search
from maporl_cli.tuning.space import distributions, found_config
from maporl_cli.tuning.study import open_study
from maporl_cli.tuning.study_dir import StudyDir
from maporl_cli.worker.plugins import load_plugins


def tune(config: Config, *, nproc: int, gpus: int, resume: bool, overwrite: bool, say: Say) -> dict[str, Any]:
    """Search, train the winner again with fresh seeds, and write what came of it.

    Args:
        config: describes the team, and in `tune` the search; its run is the study.
        nproc: ranks of a trial.
        gpus: of this machine.
        resume: go on with the study of that name.
        overwrite: delete a study of that name first.
        say: told how it goes.

    Returns:
        The `done` event.

    Raises:
        MaporlError: whatever went wrong, with its fix. `Interrupted` after Ctrl-C or SIGTERM.
    """
    load_plugins(config.run.plugins)
    config = named(config)
    room = room_for(config, nproc, gpus)
    space = distributions(config)
    if config.run.seed + config.tune.confirm_seeds >= 2**32:
        raise ConfigError(
            f"There are not {config.tune.confirm_seeds} fresh seeds above {config.run.seed}.",
            where="run.seed",
            fix="a smaller --seed",
        )
    home = StudyDir.of(config)
    stop = StopRequest()
    with alone_in(RunDir.of(config)):
        if resume:
            StudyDir.for_resume(config)
        else:
            StudyDir.open_new(config, overwrite=overwrite)
        with stop, open_study(home, config.tune) as study:
            search = Search(study, config, space, say)
            train_all(search.jobs(), room, nproc, stop)
            best = winner(study)
            _write_best(home, config, best.params)
            confirmation = Confirmation(config, best.number, best.params, say)
            train_all(confirmation.jobs(), room, nproc, stop)
            return close_study(home, config, study, confirmation, questions=search.tuning_questions)


def close_study(
    home: StudyDir, config: Config, study: Study, confirmation: Confirmation, *, questions: int
) -> dict[str, Any]:
    """Write what a study came to; the `done` event.

    Args:
        questions: that each value was measured on.
    """
    found = study_results(home, study, confirmation, questions=questions)
    _write_best(home, config, found["best"]["values"])
    atomic_write(home.results, json.dumps(found, indent=1))
    write_study(home.report, found, seed_intervals(found))
    return {"event": "done", **found}


def room_for(config: Config, nproc: int, gpus: int) -> list[Place]:
    """Where trials can go on at a time.

    Raises:
        ConfigError: `tune.parallel` is more than there are GPUs for.
    """
    parallel = config.tune.parallel or max(1, gpus // nproc)
    if gpus and parallel * nproc > gpus:
        raise ConfigError(
            f"{parallel} trials at once on {nproc} ranks each need {parallel * nproc} GPUs.",
            where="tune.parallel",
            why=f"this machine has {gpus}",
            fix=f"--set tune.parallel={max(1, gpus // nproc)}, or a smaller --nproc",
        )
    return places(nproc, parallel, gpus)


def _write_best(home: StudyDir, config: Config, values: dict[str, Any]) -> None:
    head = f"# maporl train --config {home.best} --name NEW\n"
    atomic_write(home.best, head + to_yaml(found_config(config, values)))
