"""A name on the command line that is a run's here or a job's on SageMaker: which of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maporl_cli.cli.output import say

if TYPE_CHECKING:
    from maporl_cli.core.run_dir import RunDir


def local_run(name: str) -> RunDir | None:
    """The run in that directory, or of that name below `runs`; None: it can only be a job.

    Raises:
        ConfigError: it can only be a run, and there is none.
    """
    from maporl_cli.core.config import RunConfig
    from maporl_cli.core.run_dir import RunDir

    for path in (Path(name), RunConfig().output_dir / name):
        if RunDir(path).config.is_file():
            return RunDir(path)
    # No job has a slash or a dot in its name, so the error is that of a run.
    return RunDir.existing(Path(name)) if set("/.") & set(name) else None


def say_what_run_was_meant(name: str) -> None:
    """Names the run nearest to `name`, where none is called that."""
    from maporl_cli.core.config import RunConfig
    from maporl_cli.core.config_keys import nearest
    from maporl_cli.core.run_dir import run_names

    output_dir = RunConfig().output_dir
    meant = nearest(name, run_names(output_dir))
    if meant is not None:
        say(f"{output_dir} holds no run of that name; did you mean {meant}?")
