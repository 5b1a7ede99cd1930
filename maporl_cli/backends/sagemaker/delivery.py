"""What a job leaves behind: a run's directory, laid out where SageMaker looks for the results.

The run itself lives where checkpoints do, which SageMaker copies to S3 while it goes on. At the end its
models become model.tar.gz, and all else output.tar.gz; `fetch` makes a run of both.
"""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from maporl_cli.backends.sagemaker.paths import (
    CODE_CHANNEL,
    CONFIG_CHANNEL,
    FAILURE,
    MODEL,
    OUTPUT,
    REQUIREMENTS,
    SHIPPED,
    channel,
)
from maporl_cli.core.errors import MaporlError
from maporl_cli.core.run_dir import RunDir

_SHOWN = 1024
"""Characters of the failure file that SageMaker shows."""


def deliver(run: RunDir, ranks: range) -> None:
    """Lay out what there is of a run, whole or not.

    Of several hosts only the first has the run; the others have what their ranks said, beside what SageMaker
    copied there when the job began.

    Args:
        ranks: of this host.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    if 0 not in ranks:
        for log in map(run.rank_log, ranks):
            _put(log, OUTPUT / log.parent.name / log.name)
        return
    if not run.path.is_dir():
        return
    if run.final_model.is_dir():
        lay_out_model(
            MODEL, run.final_model, run.config, channel(CONFIG_CHANNEL) / SHIPPED, channel(CODE_CHANNEL)
        )
    apart = (run.final_model, run.checkpoints, run.training_log)
    for item in run.path.iterdir():
        if item not in apart and not item.name.startswith("."):
            _put(item, OUTPUT / item.name)
    latest = run.checkpoints / "latest"
    if latest.is_file():
        for name in (latest.name, latest.read_text(encoding="utf-8").strip()):
            _put(run.checkpoints / name, OUTPUT / run.checkpoints.name / name)
    if run.training_log.is_file():
        OUTPUT.mkdir(parents=True, exist_ok=True)
        with run.training_log.open("rb") as log, gzip.open(OUTPUT / "training.log.gz", "wb") as packed:
            shutil.copyfileobj(log, packed)


def lay_out_model(target: Path, final_model: Path, config: Path, files: Path, code: Path) -> None:
    """What becomes a `model.tar.gz`: a final model, with all that an endpoint needs to serve it as it is.

    Args:
        target: becomes the root of the archive, which an endpoint unpacks where a job lays it out.
        config: names plug-ins and evidence by what `files` calls them.
        files: their folder, which may be missing.
        code: as `bundle.write_code` makes it.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    _put(final_model, target / "final_model")
    _put(config, target / "config.yaml")
    _put(files, RunDir(target).files)
    _put_code(code, target / "code")


def write_failure(error: MaporlError) -> None:
    """Tell SageMaker why the job failed; what is too long loses of its reason, never of its fix."""
    fix = f"\nFix: {error.fix}"[: _SHOWN // 2]
    told = error.message.rpartition("\nFix: ")[0]
    if len(told) + len(fix) > _SHOWN:
        told = f"{told[: _SHOWN - len(fix) - 2]} …"
    FAILURE.parent.mkdir(parents=True, exist_ok=True)
    FAILURE.write_text(told + fix, encoding="utf-8")


def _put_code(code: Path, target: Path) -> None:
    """The code beside a model, so that an endpoint can serve it as it is.

    An endpoint installs the requirements from another folder than theirs, from which a path of their own
    leads nowhere.
    """
    _put(code, target)
    if (requirements := target / REQUIREMENTS).is_file():
        lines = requirements.read_text(encoding="utf-8").splitlines(keepends=True)
        requirements.unlink()  # it may be the channel's own file
        there = MODEL / target.name
        told = (f"{there}/{line.removeprefix('./')}" if line.startswith("./") else line for line in lines)
        requirements.write_text("".join(told), encoding="utf-8")


def _put(source: Path, target: Path) -> None:
    """A file or folder at a second place, without a second copy where both are on one disk."""
    files = sorted(one for one in source.rglob("*") if one.is_file()) if source.is_dir() else [source]
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts:  # which Python left beside plug-ins
            place = target / file.relative_to(source) if source.is_dir() else target
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(file, place)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)
