"""The team that an endpoint serves: of a run here, packed as a job's model is, or of a job, as it left it."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from boto3.session import Session

from maporl_cli.agents.build import model_of
from maporl_cli.agents.model_files import KNOWN_MODELS
from maporl_cli.agents.models import can_be_pulled
from maporl_cli.backends.sagemaker.bundle import write_code
from maporl_cli.backends.sagemaker.delivery import lay_out_model
from maporl_cli.backends.sagemaker.fetch import local_config
from maporl_cli.backends.sagemaker.jobs import described
from maporl_cli.backends.sagemaker.paths import CONFIG, SHIPPED
from maporl_cli.core.atomic import clean, disk_error, passing_dir
from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import ConfigError, DataError, MissingError, RunFailed
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.s3 import Bucket, place_of
from maporl_cli.worker.final_model import refuse_plugin_policies, servable
from maporl_cli.worker.plugins import load_plugins

ARCHIVE = "model.tar.gz"


@dataclass(frozen=True, slots=True)
class JobModel:
    """A job's `model.tar.gz`.

    Attributes:
        uri: its address.
        bytes: its size, packed.
    """

    uri: str
    bytes: int


def config_of_run(home: RunDir) -> Config:
    """The config of a run that an endpoint can serve.

    Raises:
        ConfigError, MissingError: as `servable`; or its adapters need a base that no endpoint can pull.
    """
    config = servable(home)
    here = {base for base in _bases(config) if Path(base).expanduser().is_dir()}
    _refuse_bases(config, here - KNOWN_MODELS.keys())
    return config


def config_of_job(session: Session, name: str) -> tuple[Config, JobModel]:
    """The config that an ended job was launched with, and its model.

    Raises:
        ConfigError: an agent's policy comes from a plug-in; or its adapters need a base that no endpoint can
            pull.
        MissingError: there is no such job, it is not ours, goes on, or left no final model; or a plug-in is
            not here.
        MaporlError: as `aws_errors`.
    """
    job = described(session, name)
    if not job.ended:
        raise MissingError(
            f"The job {name} has not ended.",
            why=f"it is {job.status} ({job.secondary}), and its model is there at the end",
            fix=f"maporl logs {name} -f waits for it",
        )
    config = local_config(session, job, None)
    place = None if job.model is None else place_of(job.model)
    size = None if place is None else Bucket(place[0], session).size(place[1])
    if job.status != "Completed" or size is None:
        raise MissingError(
            f"The job {name} left no final model.",
            where=job.model or "",
            why=job.failure
            or f"it is {job.status}; a job writes its final model when its training has ended",
            fix="maporl train --on sagemaker --resume --name RUN goes on with its run, in another job",
        )
    for plugin in config.run.plugins:
        if not Path(plugin).is_file():
            raise MissingError(
                f"A plug-in of the job {name} is not here.",
                where=f"run.plugins: {plugin}",
                why="it may bring policies, which no endpoint can load",
                fix="put it back, or run the command in the directory that the job was launched in",
            )
    load_plugins(config.run.plugins)
    refuse_plugin_policies(config)
    _refuse_bases(config, frozenset())
    return config, JobModel(str(job.model), size)


def _bases(config: Config) -> dict[str, str]:
    """What the endpoint has to pull, each with an agent that needs it: the bases of adapters."""
    if config.model.finetune == "full":
        return {}
    return {model_of(seat, config): seat.name for seat in config.team.agents}


def _refuse_bases(config: Config, folders: Collection[str]) -> None:
    """Nothing, where each base has a name that an endpoint can pull it by.

    Args:
        folders: those that are folders of this machine, whatever a hub has under that name.

    Raises:
        ConfigError: one has not.
    """
    for base, agent in _bases(config).items():
        if base in folders or not can_be_pulled(base):
            raise ConfigError(
                f"The endpoint cannot read {base}: it is no name that a hub has, but a folder.",
                where=f"the base of the agent {agent}'s adapter",
                fix="push it to a hub, and train with its id there; or train with model.finetune=full, whose "
                "final model needs no base",
            )


@contextmanager
def packed(home: RunDir) -> Generator[Path]:
    """The `model.tar.gz` of a run, laid out as a job delivers it; it is gone at the end.

    Raises:
        DataError: a file that the config names is missing.
        MissingError, RunFailed: maporl is not installed, or the disk is full or cannot be written.
    """
    with _told_of_packing(), _workplace(home) as folder:
        own, code, root = (folder / name for name in ("config", "code", "model"))
        config = _put_files(own, servable(home))
        (own / CONFIG).write_text(to_yaml(config), encoding="utf-8")
        code.mkdir()
        write_code(code, config)
        lay_out_model(root, home.final_model, own / CONFIG, own / SHIPPED, code)
        archive = folder / ARCHIVE
        # Weights hardly become smaller, so what takes least time is best. Without `dereference`, a file that
        # two agents share would become a link within the archive.
        with tarfile.open(archive, "w:gz", compresslevel=1, dereference=True) as tar:
            for item in sorted(root.iterdir()):
                tar.add(item, item.name)
        yield archive


@contextmanager
def _workplace(home: RunDir) -> Generator[Path]:
    """A folder to pack in: beside the run, so that no model is copied, if that may be written."""
    beside = home.path.resolve().parent
    if os.access(beside, os.W_OK | os.X_OK):
        clean(beside, deep=False)
        with passing_dir(home.path.resolve()) as folder:
            yield folder
    else:
        with TemporaryDirectory(prefix="maporl-") as folder:
            yield Path(folder)


@contextmanager
def _told_of_packing() -> Generator[None]:
    """Tells what the disk has against packing; `disk_errors` tells it of a run that is being trained.

    Raises:
        RunFailed: there is no room.
        MissingError: there is no folder that may be written.
    """
    try:
        yield
    except OSError as error:
        told = disk_error(error, "")
        if told is None:
            raise
        where, why = str(error.filename2 or error.filename or ""), error.strerror or ""
        if isinstance(told, RunFailed):
            raise RunFailed(
                "There is no room left to pack the model.",
                where=where,
                why=why,
                fix="free as much as the final model takes, and run the same command again",
            ) from error
        raise MissingError(
            "The model cannot be packed.",
            where=where,
            why=why,
            fix="let TMPDIR name a folder that you may write to and that has room for the final model",
        ) from error


def _put_files(folder: Path, config: Config) -> Config:
    """Put the plug-ins and the evidence into a folder; the config that names them there."""
    files = folder / SHIPPED
    files.mkdir(parents=True)

    def put(name: str, key: str) -> str:
        if not Path(name).is_file():
            raise DataError("There is no such file.", where=f"{name} ({key})", fix="put it back where it was")
        place = files / f"{len(list(files.iterdir()))}-{Path(name).name}"
        shutil.copyfile(name, place)
        return f"{SHIPPED}/{place.name}"

    plugins = tuple(put(name, "run.plugins") for name in config.run.plugins)
    evidence = config.team.evidence
    if evidence not in ("pool", "none"):
        evidence = put(evidence, "team.evidence")
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"plugins": plugins}),
            "team": config.team.model_copy(update={"evidence": evidence}),
        }
    )
