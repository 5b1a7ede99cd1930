"""A study's directory: where each file of a study lives.

runs/<study>/
    study.yaml  study.db  study.json  best.yaml  report.html
    trial_000/  trial_001/  …  trial_007_seed_1/  …   ordinary runs
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maporl_cli.core import config_yaml
from maporl_cli.core.atomic import atomic_write, clean, discard, disk_errors
from maporl_cli.core.config import Config
from maporl_cli.core.config_keys import nearest
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.run_dir import RunDir, changed_science_fields

_SEARCHED_BY = ("space", "objective", "eval_fraction", "evaluations")
"""What trials have in common; how many there are, and how they are chosen, may change."""


@dataclass(frozen=True)
class StudyDir:
    """The paths of one study. Make one with `open_new`, `for_resume` or `existing`."""

    path: Path

    @staticmethod
    def of(config: Config) -> StudyDir:
        """The paths of a study that has its name; nothing is looked at or made."""
        return StudyDir(config.run.output_dir / str(config.run.name))

    @staticmethod
    def open_new(config: Config, *, overwrite: bool) -> StudyDir:
        """A fresh directory, holding its `study.yaml`.

        Raises:
            ConfigError: there is a study already and `overwrite` is not set, or something else is there.
            MissingError, RunFailed: the place cannot be written, or the disk is full.
        """
        home = StudyDir.of(config)
        with disk_errors(home.path):
            home.path.parent.mkdir(parents=True, exist_ok=True)
            clean(home.path.parent, deep=False)
            clean(home.path, deep=False)
            if home.path.exists() and any(home.path.iterdir()):
                home._refuse_to_lose(overwrite)
                discard(home.path)
            home.path.mkdir(exist_ok=True)
        home.write_config(config)
        return home

    @staticmethod
    def for_resume(config: Config) -> StudyDir:
        """The directory of the study that `config` goes on with.

        Raises:
            ConfigError: there is no such study, or it searches something else; names each key.
        """
        home = StudyDir.existing(StudyDir.of(config).path)
        refuse_other_search(home.load_config(), config, where=str(home.path))
        with disk_errors(home.path):
            clean(home.path, deep=False)
        home.write_config(config)
        return home

    @staticmethod
    def existing(path: Path) -> StudyDir:
        """The study at `path`.

        Raises:
            ConfigError: there is none; the error names the nearest.
        """
        home = StudyDir(path)
        if home.config.is_file():
            return home
        names = study_names(path.parent)
        meant = nearest(path.name, names)
        raise ConfigError(
            f"There is no study {path}.",
            why=f"{path.parent} holds {', '.join(names) if names else 'no study'}",
            fix="start it with `maporl tune`" if meant is None else f"did you mean {path.parent / meant}?",
        )

    @property
    def config(self) -> Path:
        """The resolved config that the study was started with."""
        return self.path / "study.yaml"

    @property
    def storage(self) -> Path:
        """Optuna's record of the trials, in SQLite."""
        return self.path / "study.db"

    @property
    def results(self) -> Path:
        """What the study came to, as JSON."""
        return self.path / "study.json"

    @property
    def best(self) -> Path:
        """A config with the winner's values, for any training."""
        return self.path / "best.yaml"

    @property
    def report(self) -> Path:
        """The page that shows the study."""
        return self.path / "report.html"

    def run(self, name: str) -> RunDir:
        """One of the study's runs."""
        return RunDir(self.path / name)

    def write_config(self, config: Config) -> None:
        """Writes `config` as the study's own."""
        head = f"# maporl tune --config {self.config} --name NEW\n"
        atomic_write(self.config, head + config_yaml.to_yaml(config))

    def load_config(self) -> Config:
        """The config that the study was started with.

        Raises:
            ConfigError: the file was damaged.
        """
        return load_config(file=self.config).config

    def _refuse_to_lose(self, overwrite: bool) -> None:
        if not self.config.is_file():
            raise ConfigError(
                f"{self.path} is in the way, and it is no study.",
                why="only studies are ever overwritten",
                fix="choose another --name or --output-dir",
            )
        if not overwrite:
            raise ConfigError(
                f"The study {self.path} exists.",
                fix="--resume goes on with it, --overwrite deletes it, another --name leaves it alone",
            )


def refuse_other_search(old: Config, new: Config, *, where: str) -> None:
    """Nothing, where a study that goes on searches what it was started to search.

    Args:
        where: the study.

    Raises:
        ConfigError: names each key that was changed.
    """
    changed = changed_science_fields(old, new)
    changed += [f"tune.{key}" for key in _SEARCHED_BY if getattr(old.tune, key) != getattr(new.tune, key)]
    if changed:
        raise ConfigError(
            f"The study {where} was started with another value of {', '.join(changed)}.",
            why="its trials could not be compared with new ones",
            fix=f"leave out what changes it, or start another study with --name {new.run.name}-2",
        )


def study_names(output_dir: Path) -> list[str]:
    """The names of the studies in a directory."""
    return sorted(config.parent.name for config in output_dir.glob("*/study.yaml"))
