"""The team that an endpoint serves: of a run here, packed as a job's model is, or of a job, as it left it."""

# boto3 leaves its clients untyped.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from boto3.session import Session

from maporl_cli.agents.build import model_of
from maporl_cli.backends.sagemaker.bundle import write_code
from maporl_cli.backends.sagemaker.delivery import lay_out_model
from maporl_cli.backends.sagemaker.fetch import local_config
from maporl_cli.backends.sagemaker.jobs import described
from maporl_cli.backends.sagemaker.paths import CONFIG, SHIPPED
from maporl_cli.core.atomic import disk_errors
from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import ConfigError, DataError, MissingError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.data.s3 import Bucket, place_of
from maporl_cli.worker.final_model import servable

ARCHIVE = "model.tar.gz"


def config_of_run(home: RunDir) -> Config:
    """The config of a run that an endpoint can serve.

    Raises:
        ConfigError, MissingError: as `servable`; or its adapters need a base that only this machine has.
    """
    config = servable(home)
    for seat in config.team.agents:
        base = model_of(seat, config)
        if config.model.finetune == "lora" and Path(base).is_dir():
            raise ConfigError(
                f"The endpoint cannot read {base}: it is a folder of this machine.",
                where=f"the base of the agent {seat.name}'s adapter",
                fix="push it to a hub, and train with its id there; or train with model.finetune=full, whose "
                "final model needs no base",
            )
    return config


def config_of_job(session: Session, name: str) -> tuple[Config, str]:
    """The config that an ended job was launched with, and the address of its model.

    Raises:
        MissingError: there is no such job, it is not ours, goes on, or left no final model.
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
    if job.status != "Completed" or place is None or Bucket(place[0], session).size(place[1]) is None:
        raise MissingError(
            f"The job {name} left no final model.",
            where=job.model or "",
            why=job.failure
            or f"it is {job.status}; a job writes its final model when its training has ended",
            fix="maporl train --on sagemaker --resume --name RUN goes on with its run, in another job",
        )
    return config, str(job.model)


@contextmanager
def packed(home: RunDir) -> Generator[Path]:
    """The `model.tar.gz` of a run, laid out as a job delivers it; it is gone at the end.

    It lies beside the run, so that no model is copied to be packed.

    Raises:
        DataError: a file that the config names is missing.
        MissingError, RunFailed: maporl is not installed, or the disk is full or cannot be written.
    """
    with (
        disk_errors(home.path.parent),
        TemporaryDirectory(prefix=".deploy-", dir=home.path.parent) as folder,
    ):
        own, code, root = (Path(folder) / name for name in ("config", "code", "model"))
        config = _put_files(own, servable(home))
        (own / CONFIG).write_text(to_yaml(config), encoding="utf-8")
        code.mkdir()
        write_code(code, config)
        lay_out_model(root, home.final_model, own / CONFIG, own / SHIPPED, code)
        archive = Path(folder) / ARCHIVE
        # Weights hardly become smaller, so what takes least time is best.
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            for item in sorted(root.iterdir()):
                tar.add(item, item.name)
        yield archive


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
