"""The files of one evaluation: what was asked, its records, what was found; and who may go on with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, RunFailed
from maporl_cli.core.run_dir import changed_science_fields, read_object
from maporl_cli.core.systems import TEAM, ZERO_SHOT
from maporl_cli.training.ranks import Ranks


class EvaluationFiles:
    """`NAME.json` and `NAME.*records.jsonl` of a folder.

    Args:
        folder: that of a run's evaluations, or `eval/`.
        name: of what is asked, and how.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._name = name
        self._file = folder / f"{name}.json"

    def records(self, who: str) -> Path:
        """Where the answers of a system are kept."""
        return self.folder / (".".join([self._name, *([who] if who != TEAM else []), "records.jsonl"]))

    def begin(self, settings: Mapping[str, Any], ranks: Ranks, *, resume: bool) -> None:
        """Note what is evaluated, for whoever goes on with it, and forget an earlier evaluation of the name.

        Raises:
            ConfigError: an evaluation of that name was cut short and would be lost, or was another.
        """
        there = ranks.broadcast(self._noted(), "an evaluation of that name")
        kept = ranks.any(bool(self._kept()), "whether it has records")
        if resume and "settings" in there:
            _refuse_another(there["settings"], settings, self._file)
            if _zero_shot_limit(there["settings"]) != _zero_shot_limit(settings):
                for path in self.folder.glob(f"{escape(self.records(ZERO_SHOT).name)}*"):
                    path.unlink(missing_ok=True)
        elif "settings" in there and "accuracy" not in there and kept:
            raise ConfigError(
                "This evaluation was cut short, and its answers would be lost.",
                where=str(self._file),
                fix=f"run the same command with --resume to go on, or remove {self._file} to begin anew",
            )
        else:
            for path in self._kept():
                path.unlink(missing_ok=True)
        if ranks.rank == 0:
            atomic_write(self._file, json.dumps({"settings": settings}, indent=1))
        ranks.broadcast(None, "the beginning of an evaluation")

    def _noted(self) -> dict[str, Any]:
        """What the file holds; nothing where it is not there.

        Raises:
            RunFailed: it is damaged.
        """
        try:
            found = read_object(self._file)
            if found and not {"questions", "config"} <= set(found["settings"]):
                raise KeyError("settings")
        except (RunFailed, KeyError, TypeError) as error:
            raise RunFailed(
                "What was noted of an evaluation is damaged.",
                where=str(self._file),
                why=f"{type(error).__name__}: what was asked cannot be read",
                fix=f"remove {self._file}, and the evaluation begins anew",
            ) from error
        return found

    def end(self, settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Keep what was found beside what was asked."""
        atomic_write(self._file, json.dumps({"settings": settings, **found}, indent=1))

    def _kept(self) -> list[Path]:
        """The records of all systems, as far as they are on this host."""
        return list(self.folder.glob(f"{escape(self._name)}.*records.jsonl*"))


def _zero_shot_limit(settings: Mapping[str, Any]) -> object:
    """What decides the answers of one baseline, and of no other system."""
    return settings["config"].get("eval", {}).get("zero_shot_max_new_tokens")


def _refuse_another(before: Mapping[str, Any], now: Mapping[str, Any], file: Path) -> None:
    """Raises ConfigError where an evaluation that is gone on with was of something else."""
    changed = [key for key in now if key != "config" and before.get(key) != now[key]]
    changed += changed_science_fields(
        Config.model_validate(before["config"]), Config.model_validate(now["config"])
    )
    if changed:
        raise ConfigError(
            "This is another evaluation than the one that is there.",
            where=str(file),
            why=f"it was made with another value of {', '.join(changed)}",
            fix="run the command that began it with --resume, or leave out --resume to begin anew",
        )
