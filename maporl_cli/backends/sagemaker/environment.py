"""What SageMaker tells a training container: the one place that reads its files and variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maporl_cli.backends.sagemaker.paths import INPUT_CONFIG
from maporl_cli.core.errors import RunFailed

_PORT = 7777
"""Open between the hosts of a job."""
_OBJECTIVE = "_tuning_objective_metric"
"""A hyperparameter that only the jobs of a tuning have."""


@dataclass(frozen=True, slots=True)
class Container:
    """One host of a job.

    Attributes:
        job: its name.
        hosts: all of its hosts, in an order that is the same on each.
        host: this one.
        interface: of the network between the hosts.
        gpus: of this host.
        values: by key, what was chosen for a trial of a tuning job, all of which share an address for their
            checkpoints; None: the job is no such trial.
        debug: whether all is to be told that can be.
    """

    job: str
    hosts: tuple[str, ...]
    host: str
    interface: str
    gpus: int
    values: Mapping[str, str] | None
    debug: bool

    @staticmethod
    def read(environ: Mapping[str, str]) -> Container:
        """This container.

        Raises:
            RunFailed: it is none of SageMaker's.
        """
        resources = _read("resourceconfig.json")
        try:
            return Container(
                job=environ["TRAINING_JOB_NAME"],
                hosts=tuple(sorted(resources["hosts"])),
                host=resources["current_host"],
                interface=resources["network_interface_name"],
                gpus=int(environ["SM_NUM_GPUS"]),
                values=_chosen(_read("hyperparameters.json")),
                debug=environ.get("SAGEMAKER_TRAINING_DEBUG", "0") not in ("", "0"),
            )
        except KeyError as error:
            raise _no_container(f"it does not say {error}") from error

    @property
    def index(self) -> int:
        """Which of the hosts this one is."""
        return self.hosts.index(self.host)

    @property
    def meeting(self) -> str:
        """Where the ranks of all hosts find each other."""
        return f"{self.hosts[0]}:{_PORT}"


def _chosen(hyperparameters: Mapping[str, str]) -> Mapping[str, str] | None:
    if _OBJECTIVE not in hyperparameters:
        return None
    # The others are the image's own.
    return {key: value for key, value in hyperparameters.items() if "." in key}


def _read(name: str) -> dict[str, Any]:
    path = INPUT_CONFIG / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_container(f"{path}: {type(error).__name__}") from error


def _no_container(why: str) -> RunFailed:
    return RunFailed(
        "This is no training container of SageMaker.",
        why=why,
        fix="start the job with maporl train --on sagemaker",
    )
