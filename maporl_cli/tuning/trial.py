"""The program that one of a study's runs is: `python -m maporl_cli.tuning.trial`, started by `tuning.runs`.

It ends in order, with a checkpoint, when the study asks it to, and also when the study is killed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path

from maporl_cli.backends.here import train_here
from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import MaporlError, debugging, unforeseen
from maporl_cli.core.run_dir import RunDir
from maporl_cli.worker.launcher import end_with_launcher


def main() -> int:
    """Train as the config says, or go on with it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m maporl_cli.tuning.trial")
    parser.add_argument("--config", type=Path, required=True, help="a whole config, with a run name")
    parser.add_argument("--nproc", type=int, default=1, help="ranks")
    parser.add_argument("--failure", type=Path, required=True, help="a file for what went wrong, in words")
    parser.add_argument("--launcher", type=int, required=True, help="the study's process")
    options = parser.parse_args()
    # A study under `nohup` ignores it, and so would its trials, which are told by it that it was killed.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        end_with_launcher(options.launcher)
        config = load_config(file=options.config, environ={}).config
        train_here(
            config,
            nproc=options.nproc,
            resume=RunDir.of(config).config.is_file(),
            overwrite=False,
            command=f"maporl train --config {RunDir.of(config).config}",
            display="none",
            profile=False,
        )
    except MaporlError as error:
        return _failed(error, options.failure)
    except Exception as error:  # noqa: BLE001 the last place where it can be told in words
        if debugging(os.environ):
            traceback.print_exc()
        told = unforeseen("It", error, fix="try the same settings with maporl train")
        return _failed(told, options.failure)
    return 0


def _failed(error: MaporlError, told: Path) -> int:
    atomic_write(told, error.message)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
