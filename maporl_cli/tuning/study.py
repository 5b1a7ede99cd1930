"""The study: Optuna's record of the trials in SQLite, and who chooses what is tried next."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from maporl_cli.core.config_tune import TuneConfig
from maporl_cli.core.errors import RunFailed
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.tuning.study_dir import StudyDir

_NAME = "study"
_FIRST_TO_THEIR_END = 3
"""Trials that are never stopped early: there would be too few to be worse than."""
_FIRST_AT_RANDOM = 10
"""Trials that Optuna tries at random before it looks at what came of them; of a short study a third."""


@contextmanager
def open_study(home: StudyDir, tune: TuneConfig) -> Generator[optuna.Study]:
    """The record of a study's trials, begun or gone on with.

    Raises:
        RunFailed: it cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # Which spells what has a meaning in addresses, or to Optuna, in another way.
        place = URL.create("sqlite", database=str(home.storage))
        storage = RDBStorage(place.render_as_string())
        yield optuna.create_study(
            storage=storage,
            study_name=_NAME,
            direction="maximize",
            pruner=pruner(tune),
            load_if_exists=True,
        )
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise RunFailed(
            "The record of the study's trials cannot be used.",
            where=str(home.storage),
            why=str(error).splitlines()[0],
            fix="see that the disk is not full, and go on with --resume; a damaged file has to be put back "
            "from a copy",
        ) from error


def sampler(tune: TuneConfig, seed: int, number: int) -> BaseSampler:
    """Who chooses the values of the trial of that number.

    Keyed by it, so that a study that was killed goes on with what it would have tried.
    """
    own = int(keyed_generator("tune", seed, number).integers(2**31))
    if tune.strategy == "random":
        return RandomSampler(seed=own)
    first = min(_FIRST_AT_RANDOM, max(1, tune.max_trials // 3))
    # Trials that still go on are taken for bad ones, so that those beside them are tried elsewhere.
    return TPESampler(seed=own, n_startup_trials=first, constant_liar=True)


def pruner(tune: TuneConfig) -> BasePruner:
    """Who stops trials early."""
    if tune.strategy == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=tune.evaluations)
    if not tune.early_stopping:
        return NopPruner()
    return MedianPruner(n_startup_trials=_FIRST_TO_THEIR_END)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that trained to their end."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
