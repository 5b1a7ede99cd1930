"""A run's directory: where each file of a run lives, and that none of it is lost.

runs/<name>/
    config.yaml  manifest.json  metrics.jsonl  training.log  training_results.json
    training_summary.json  report.html  episodes/  eval/  final_model/<agent>/
    checkpoints/step_000010/{manifest.json, …}  checkpoints/latest
    logs/rank_0.log  profile.json (with --profile)  files/ (in a job's model: what its config names)
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from maporl_cli.core import config_yaml
from maporl_cli.core.atomic import atomic_write, clean, discard, disk_errors
from maporl_cli.core.config import Config, RunConfig
from maporl_cli.core.config_keys import nearest
from maporl_cli.core.config_sources import flat, load_config
from maporl_cli.core.errors import ConfigError, damaged

_NO_SCIENCE = (
    "run.name",
    "run.output_dir",
    "monitoring",
    "train.save_every",
    "train.keep_checkpoints",
    "train.guards",
    "train.guard_window",
    "data.dataloader_num_workers",
    "placement",
    "sagemaker",
    "tune",
    "eval.endpoint_timeout",
    "eval.zero_shot_max_new_tokens",
    "eval.batch_size",
    "rollout.microbatches",
    "train.per_device_train_batch_size",
    "train.gradient_accumulation_steps",
    "model.gradient_checkpointing",
)
"""Keys that a resumed run may change: none of them changes what is learned or measured (an evaluation that is
gone on with asks `zero_shot` anew where its limit is another).

The last five say how much is done at once, which other ranks, or less memory, need otherwise. They
change the order of sums, and so their last digits, as the number of replicas does."""


@dataclass(frozen=True)
class RunDir:
    """The paths of one run. Make one with `open_new`, `for_resume` or `existing`."""

    path: Path

    @staticmethod
    def open_new(config: Config, *, overwrite: bool = False) -> RunDir:
        """A fresh directory for a run, holding its `config.yaml`.

        Without `run.name` the run gets the name that `named` makes.

        Raises:
            ConfigError: there is such a run already and `overwrite` is not set, or something
                that is no run is in its place.
            MissingError, RunFailed: the place cannot be written, or the disk is full.
        """
        config = named(config)
        run = RunDir.of(config)
        with disk_errors(run.path):
            run.path.parent.mkdir(parents=True, exist_ok=True)
            clean(run.path.parent, deep=False)
            clean(run.path)
            if run._refuse_to_lose(overwrite):
                discard(run.path)
            run.path.mkdir(exist_ok=True)
        run.write_config(config)
        return run

    @staticmethod
    def refuse_to_lose(config: Config, *, overwrite: bool) -> None:
        """What `open_new` would refuse, refused before anything is loaded for the new run.

        Raises:
            ConfigError: as `open_new`.
        """
        if config.run.name is not None:
            RunDir.of(config)._refuse_to_lose(overwrite)

    @staticmethod
    def refuse(config: Config, *, resume: bool, overwrite: bool) -> None:
        """What going on with the run, or beginning it, would refuse; a run to go on with is made ready.

        Raises:
            ConfigError: as `for_resume` or `open_new`.
        """
        if resume:
            RunDir.for_resume(config)
        else:
            RunDir.refuse_to_lose(config, overwrite=overwrite)

    @staticmethod
    def for_resume(config: Config) -> RunDir:
        """The directory of the run that `config` goes on with, cleaned of half-written files.

        Raises:
            ConfigError: there is no such run, or `config` changes a key that decides what is
                learned; the error names each.
        """
        if config.run.name is None:
            raise ConfigError("--resume needs to know which run.", fix="--resume --name NAME")
        run = RunDir.existing(config.run.output_dir / config.run.name)
        refuse_changed_science(run.load_config(), config, where=str(run.path))
        clean(run.path)
        run.write_config(config)
        return run

    @staticmethod
    def of(config: Config) -> RunDir:
        """The paths of a run that has its name; nothing is looked at or made."""
        return RunDir(config.run.output_dir / str(config.run.name))

    @staticmethod
    def existing(path: Path) -> RunDir:
        """The run at `path`, to be read.

        Raises:
            ConfigError: there is no run; the error names the one that it is in, or the nearest.
        """
        run = RunDir(path)
        if run.config.is_file():
            return run
        names = run_names(path.parent)
        meant = _meant(path, names)
        raise ConfigError(
            f"There is no run {path}.",
            why=f"{path.parent} holds {', '.join(names) if names else 'no run'}",
            fix="start it with `maporl train`" if meant is None else f"did you mean {meant}?",
        )

    @property
    def config(self) -> Path:
        """The resolved config, itself fit for `--config`."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """What the run was made with (`core.manifest`)."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One flat JSON object a step."""
        return self.path / "metrics.jsonl"

    @property
    def episodes(self) -> Path:
        """The folder of `step_000010.jsonl`, one a step."""
        return self.path / "episodes"

    @property
    def checkpoints(self) -> Path:
        """The folder of `step_000010/` and `latest`."""
        return self.path / "checkpoints"

    @property
    def final_model(self) -> Path:
        """The folder of one model an agent."""
        return self.path / "final_model"

    @property
    def files(self) -> Path:
        """The folder of the plug-ins and the evidence that the config names, in a run that is deployed."""
        return self.path / "files"

    @property
    def evaluation(self) -> Path:
        """The folder of evaluations and their records."""
        return self.path / "eval"

    @property
    def profile(self) -> Path:
        """What each rank did when, in Chrome's trace format."""
        return self.path / "profile.json"

    def rank_log(self, rank: int) -> Path:
        """All that a rank said, and its errors."""
        return self.path / "logs" / f"rank_{rank}.log"

    @property
    def training_log(self) -> Path:
        """All that the run said, with the time."""
        return self.path / "training.log"

    @property
    def results(self) -> Path:
        """Final metrics, before and after."""
        return self.path / "training_results.json"

    @property
    def summary(self) -> Path:
        """Config summary, data, topology, outcome."""
        return self.path / "training_summary.json"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    def is_there(self, *, otherwise: str) -> bool:
        """Whether there is a run; an empty folder is none.

        Args:
            otherwise: what to do where something else is in its place.

        Raises:
            ConfigError: something else is.
            MissingError, RunFailed: the place cannot be read.
        """
        with disk_errors(self.path):
            if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
                return False
        if not (self.config.is_file() or self.manifest.is_file()):
            raise ConfigError(
                f"{self.path} is in the way, and it is no run.",
                why="only runs are ever overwritten",
                fix=otherwise,
            )
        return True

    def write_config(self, config: Config) -> None:
        """Writes `config` as the run's own."""
        atomic_write(self.config, self.config_text(config))

    def config_text(self, config: Config) -> str:
        """What `config.yaml` holds of a run that lies here."""
        return f"# maporl train --config {self.config} --name NEW\n{config_yaml.to_yaml(config)}"

    def load_config(self) -> Config:
        """The config the run was started with.

        Raises:
            RunFailed: the file is empty.
            ConfigError: the file was damaged, or written by another version with other keys.
        """
        if not self.config.read_text(encoding="utf-8").strip():
            raise damaged(self.config, ValueError("it is empty"))
        return load_config(file=self.config).config

    def _refuse_to_lose(self, overwrite: bool) -> bool:
        """Whether there is a run that `overwrite` allows to delete; refuses to touch anything else."""
        if not self.is_there(otherwise="choose another --name or --output-dir"):
            return False
        if not overwrite:
            raise ConfigError(
                f"The run {self.path} exists.",
                fix="--resume goes on with it, --overwrite deletes it, another --name leaves it alone",
            )
        return True


def named(config: Config) -> Config:
    """`config` with a run name: its own, or its data's name in letters that a run may have, and the time."""
    if config.run.name is not None:
        return config
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config.data.train).stem).strip("-._")[:40]
    name = f"{plain or 'run'}-{time.strftime('%Y%m%d-%H%M%S')}"
    return renamed(config, name)


def renamed(config: Config, name: str | None) -> Config:
    """`config` with another run name."""
    return config.model_copy(update={"run": config.run.model_copy(update={"name": name})})


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that a run keeps in `path`; empty where the file does not exist yet.

    Raises:
        RunFailed: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no JSON object")
    except ValueError as error:
        raise damaged(path, error) from error
    return cast("dict[str, Any]", found)


def _meant(path: Path, beside: Sequence[str]) -> Path | None:
    """The run that somebody meant who gave a file of it, its bare name, or a name like it."""
    for run in (path.parent, RunConfig().output_dir / path):
        if RunDir(run).config.is_file():
            return run
    name = nearest(path.name, beside)
    return None if name is None else path.parent / name


def run_names(output_dir: Path) -> list[str]:
    """The names of the runs in a directory."""
    return sorted(config.parent.name for config in output_dir.glob("*/config.yaml"))


def refuse_changed_science(old: Config, new: Config, *, where: str) -> None:
    """Nothing, where a run that goes on goes on with what it was started with.

    Args:
        where: the run.

    Raises:
        ConfigError: names each key that was changed.
    """
    if changed := changed_science_fields(old, new):
        raise ConfigError(
            f"The run {where} was started with another value of {', '.join(changed)}.",
            why="a resumed run goes on with what it was started with, or its results would mean nothing",
            fix=f"leave out what changes it, or start another run with --name {new.run.name}-2",
        )


def changed_science_fields(old: Config, new: Config) -> list[str]:
    """The dotted keys in which two configs differ and which decide what is learned or measured."""
    before, after = flat(old), flat(new)
    return [
        key
        for key in dict.fromkeys([*before, *after])
        if before.get(key, _ABSENT) != after.get(key, _ABSENT)
        and not any(key == free or key.startswith(f"{free}.") for free in _NO_SCIENCE)
    ]


_ABSENT = object()
