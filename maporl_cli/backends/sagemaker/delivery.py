"""What a job leaves behind: a run's directory, laid out where SageMaker looks for the results.

The run itself lives where checkpoints do, which SageMaker copies to S3 while it goes on. At the end its
models become model.tar.gz, and all else output.tar.gz; `fetch` makes a run of both.
"""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from maporl_cli.backends.sagemaker.paths import FAILURE, MODEL, OUTPUT, channel
from maporl_cli.core.errors import MaporlError
from maporl_cli.core.run_dir import RunDir

_SHOWN = 1024
"""Characters of the failure file that SageMaker shows."""


def deliver(run: RunDir) -> None:
    """Lay out what there is of a run, whole or not."""
    if run.final_model.is_dir():
        _put(run.final_model, MODEL / run.final_model.name)
        _put(run.config, MODEL / run.config.name)
        _put(channel("code"), MODEL / "code")
    if not run.path.is_dir():
        return
    apart = (run.final_model, run.checkpoints, run.training_log)
    for item in run.path.iterdir():
        if item not in apart and not item.name.startswith("."):
            _put(item, OUTPUT / item.name)
    latest = run.checkpoints / "latest"
    if latest.is_file():
        for name in (latest.name, latest.read_text(encoding="utf-8").strip()):
            _put(run.checkpoints / name, OUTPUT / run.checkpoints.name / name)
    if run.training_log.is_file():
        with run.training_log.open("rb") as log, gzip.open(OUTPUT / "training.log.gz", "wb") as packed:
            shutil.copyfileobj(log, packed)


def write_failure(error: MaporlError) -> None:
    """Tell SageMaker why the job failed; what is too long loses of its reason, never of its fix."""
    message = error.message
    if too_long := max(0, len(message) - _SHOWN):
        why = error.why[: max(0, len(error.why) - too_long - len(" …"))]
        message = MaporlError(error.what, where=error.where, why=f"{why} …", fix=error.fix).message
    FAILURE.parent.mkdir(parents=True, exist_ok=True)
    FAILURE.write_text(message, encoding="utf-8")


def _put(source: Path, target: Path) -> None:
    """A file or folder at a second place, without a second copy where both are on one disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)
    elif source.is_file():
        _link(str(source), str(target))


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)
