"""What a job leaves behind: a run's directory, laid out where SageMaker looks for the results.

The run itself lives where checkpoints do, which SageMaker copies to S3 while it goes on. At the end its
models become model.tar.gz, and all else output.tar.gz; `fetch` makes a run of both.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from functools import partial
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
    """Lay out what there is of a run, whole or not: what cannot be laid out keeps nothing else from it.

    Of several hosts only the first has the run; the others have what their ranks said, beside what SageMaker
    copied there when the job began.

    Args:
        ranks: of this host.

    Raises:
        OSError: the first that went wrong: the disk is full, or cannot be written.
    """
    lost: OSError | None = None
    for source, target in _layout(run) if 0 in ranks else _logs(run, ranks):
        try:
            _link(source, target)
        except OSError as error:
            lost = lost or error
    for finish in (
        (partial(_lead_to_wheel, MODEL / "code"), partial(_pack, run.training_log)) if 0 in ranks else ()
    ):
        try:
            finish()
        except OSError as error:
            lost = lost or error
    if lost is not None:
        raise lost


def _logs(run: RunDir, ranks: range) -> Iterator[tuple[Path, Path]]:
    for log in map(run.rank_log, ranks):
        yield from _files(log, OUTPUT / log.parent.name / log.name)


def _layout(run: RunDir) -> Iterator[tuple[Path, Path]]:
    """Each file of a run with its place, the models first."""
    if not run.path.is_dir():
        return
    if run.final_model.is_dir():
        yield from _model(
            MODEL, run.final_model, run.config, channel(CONFIG_CHANNEL) / SHIPPED, channel(CODE_CHANNEL)
        )
    apart = (run.final_model, run.checkpoints, run.training_log)
    for item in sorted(run.path.iterdir()):
        if item not in apart and not item.name.startswith("."):
            yield from _files(item, OUTPUT / item.name)
    for item in _last_checkpoint(run):
        yield from _files(item, OUTPUT / run.checkpoints.name / item.name)


def _last_checkpoint(run: RunDir) -> list[Path]:
    """The checkpoint that `latest` names, where it names one, else the newest; and `latest`."""
    latest = run.checkpoints / "latest"
    found = sorted(run.checkpoints.glob("step_*"))
    name = latest.read_text(encoding="utf-8", errors="replace").strip() if latest.is_file() else ""
    return [latest, *([one for one in found if one.name == name] or found[-1:])]


def _pack(log: Path) -> None:
    if not log.is_file():
        return
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with log.open("rb") as whole, gzip.open(OUTPUT / "training.log.gz", "wb") as packed:
        shutil.copyfileobj(whole, packed)


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
    for source, place in _model(target, final_model, config, files, code):
        _link(source, place)
    _lead_to_wheel(target / "code")


def _model(
    target: Path, final_model: Path, config: Path, files: Path, code: Path
) -> Iterator[tuple[Path, Path]]:
    yield from _files(final_model, target / "final_model")
    yield from _files(config, target / "config.yaml")
    yield from _files(files, RunDir(target).files)
    yield from _files(code, target / "code")


def write_failure(error: MaporlError) -> None:
    """Tell SageMaker why the job failed; what is too long loses of its reason, never of its fix."""
    fix = f"\nFix: {error.fix}"[: _SHOWN // 2]
    told = error.message.rpartition("\nFix: ")[0]
    if len(told) + len(fix) > _SHOWN:
        told = f"{told[: _SHOWN - len(fix) - 2]} …"
    FAILURE.parent.mkdir(parents=True, exist_ok=True)
    FAILURE.write_text(told + fix, encoding="utf-8")


def _lead_to_wheel(code: Path) -> None:
    """An endpoint installs the requirements from another folder, where a path of their own leads nowhere."""
    if (requirements := code / REQUIREMENTS).is_file():
        lines = requirements.read_text(encoding="utf-8").splitlines(keepends=True)
        requirements.unlink()  # it may be the channel's own file
        there = MODEL / code.name
        told = (f"{there}/{line.removeprefix('./')}" if line.startswith("./") else line for line in lines)
        requirements.write_text("".join(told), encoding="utf-8")


def _files(source: Path, target: Path, around: tuple[Path, ...] = ()) -> Iterator[tuple[Path, Path]]:
    """Each file of a file or folder, and where it comes to lie; none where there is neither.

    Links are followed: where they lead to is not there any more where the files come to lie.

    Args:
        around: the folders that this one is in; one that is linked into itself is left out there.
    """
    if source.is_file():
        yield source, target
    elif source.is_dir() and (place := source.resolve()) not in around:
        for item in sorted(source.iterdir()):
            if item.name != "__pycache__":  # which Python left beside plug-ins
                yield from _files(item, target / item.name, (*around, place))


def _link(source: Path, target: Path) -> None:
    """A file at a second place, without a second copy where both are on one disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)  # of a link, what it leads to
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)
