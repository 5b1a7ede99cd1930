"""Metrics on Weights & Biases, where the config asks for it; offline needs neither key nor network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maporl_cli.core.config import Config, MonitoringConfig
from maporl_cli.core.errors import MissingError


def refuse_without_key(settings: MonitoringConfig) -> None:
    """Raises MissingError where W&B is to be used online and has no key, before anything is trained."""
    if settings.wandb_mode == "online" and not _wandb().login(prompt=False, verify=False):
        raise _unusable("there is no API key")


def _wandb() -> Any:
    # W&B reports its own crashes to a third party unless told not to before it is imported.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def _unusable(why: str) -> MissingError:
    return MissingError(
        "Weights & Biases cannot be used.",
        where="monitoring.wandb_mode",
        why=why,
        fix="run `wandb login`, or train with --set monitoring.wandb_mode=offline (needs no key) "
        "or --set monitoring.wandb_mode=disabled",
    )


class WandbSink:
    """One W&B run for one sitting; sittings of the same run share its group.

    Args:
        config: `monitoring.wandb_*` says where to; the whole config is stored beside the metrics.
            With `wandb_mode: disabled` the sink does nothing and wandb is not even imported.
        directory: the run's directory; W&B's own files go to `wandb/` below it, from where
            `wandb sync` uploads what was recorded offline.

    Raises:
        MissingError: W&B cannot be reached.
    """

    def __init__(self, config: Config, directory: Path) -> None:
        self._run = None
        settings = config.monitoring
        if settings.wandb_mode == "disabled":
            return
        wandb = _wandb()
        directory.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                mode=settings.wandb_mode,
                # What W&B itself is told by its environment, in a job for instance, goes before the config.
                project=None if "WANDB_PROJECT" in os.environ else settings.wandb_project,
                tags=None if "WANDB_TAGS" in os.environ else settings.wandb_tags,
                dir=directory,
                name=directory.name,
                group=directory.name,
                config=config.model_dump(mode="json"),
                # stdout belongs to results and to --json: W&B must neither wrap it nor upload it.
                settings=wandb.Settings(console="off", quiet=True, disable_code=True),
            )
        except wandb.Error as error:
            raise _unusable(str(error)) from error

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of `step`."""
        if self._run is not None:
            self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish W&B's files and, online, the upload."""
        if self._run is not None:
            self._run.finish()
