"""In a trial's place: as good as its learning rate says, in the files of a run, without a training.

Reads and leaves what `maporl_cli.tuning.trial` does. `starts.txt` beside the study tells of every start and
every end.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from maporl_cli.core.config_sources import load_config
from maporl_cli.core.run_dir import RunDir

BEST_RATE = 1e-3


def value_of(rate: float, seed: int) -> float:
    """1 at the best rate, less by a quarter for each factor of ten, and by a hundredth for each seed."""
    return max(0.0, 1 - abs(math.log10(rate / BEST_RATE)) / 4 - seed / 100)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("config", "nproc", "failure", "launcher"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    # As `worker.launcher`, which would import all that trains: SIGHUP when the study is killed.
    ctypes.CDLL(None).prctl(1, signal.SIGHUP)
    if os.getppid() != int(options.launcher):
        sys.exit(130)
    config = load_config(file=Path(options.config)).config
    heeds = config.train.learning_rate != 0.25
    signal.signal(signal.SIGTERM, (lambda *_: sys.exit(130)) if heeds else signal.SIG_IGN)
    run, train = RunDir.of(config), config.train
    log = run.path.parent / "starts.txt"

    def note(what: str) -> None:
        with log.open("a") as file:
            print(what, config.run.name, options.nproc, time.monotonic(), file=file)

    note("start")
    if train.learning_rate == 0.5 and not (run.path.parent / "disk is back").exists():
        Path(options.failure).write_text("There is no such disk.\nFix: put it back")
        sys.exit(4)
    if train.learning_rate > 1:
        Path(options.failure).write_text("It diverged.\nFix: a lower train.learning_rate")
        sys.exit(1)
    run.path.mkdir(parents=True, exist_ok=True)
    run.write_config(config)
    value = value_of(train.learning_rate, config.run.seed)
    done = (
        {row["step"] for row in map(json.loads, run.metrics.read_text().splitlines())}
        if run.metrics.exists()
        else ()
    )
    for step in range(train.eval_every, int(train.max_steps or 0) + 1, train.eval_every or 1):
        time.sleep(0.1)
        if step not in done:
            with run.metrics.open("a") as file:
                file.write(
                    json.dumps({"step": step, "eval:accuracy": value * step / int(train.max_steps or 1)})
                    + "\n"
                )
    note("end")
    after = {"accuracy": value, "sampled": value / 2, "invalid": 0, "n": 12}
    draft = run.path / "draft"
    draft.write_text(json.dumps({"eval": {"after": after}, "train_seconds": 1.5}))
    draft.rename(run.results)


if __name__ == "__main__":
    main()
