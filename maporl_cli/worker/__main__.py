"""What `torchrun` starts on every rank: `torchrun --nproc-per-node 4 -m maporl_cli.worker --config FILE`.

`maporl train --nproc 4` and `maporl eval --nproc 4` start the same program through torchrun's own API.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, Interrupted, MaporlError, RunFailed, debugging, unforeseen
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.training.ranks import LostContact, Ranks
from maporl_cli.training.stop import STOPS
from maporl_cli.worker.evaluate import evaluate_run
from maporl_cli.worker.job import First, join, launches_of, open_store, this_launch
from maporl_cli.worker.launcher import EVENT, end_with_launcher
from maporl_cli.worker.request import Request
from maporl_cli.worker.train import train

_SEE_ALL = "run it again with MAPORL_DEBUG=1 to see all of it, and report that"
_GRACE = 5.0
"""Seconds in which a rank that only lost contact lets the one that really failed be told of."""


def main(arguments: list[str] | None = None) -> int:
    """Train or evaluate on this rank; returns the exit code."""
    options = _options(arguments)
    first = First(None, int(os.environ.get("RANK", "0")))
    if code := _settled(options.outcome):
        return code
    for number in STOPS:
        signal.signal(number, _stopped_early)
    try:
        end_with_launcher(options.launcher)
        # Before anything that may fail on this rank alone: in the store, ranks agree who tells of it.
        store = open_store()
        first = First(store, first.rank)
        config = load_config(preset=None, file=options.config, environ={}, sets=(), flags={}).config
        ranks = join(config, store)
        event = _event(config, ranks, options)
    except MaporlError as error:
        return _fail(error, first, options.outcome)
    except KeyboardInterrupt:
        return _fail(_stopped_at_once(), first, options.outcome)
    except Exception as error:  # noqa: BLE001 the last place where it can be told in words
        if debugging(os.environ):
            traceback.print_exc()
        return _fail(unforeseen("It", error, fix=_SEE_ALL), first, options.outcome)
    if ranks.rank == 0:
        if options.outcome is None:
            print(json.dumps(event), flush=True)
        else:
            atomic_write(options.outcome / EVENT, json.dumps(event))
    return 0


def _event(config: Config, ranks: Ranks, options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, done on this rank."""
    display = options.display if ranks.rank == 0 or options.display == "job" else "none"
    if options.evaluate is not None:
        return evaluate_run(config, Request.of_json(options.evaluate), display=display, ranks=ranks)
    goes_on = _restarted(config, ranks)
    return train(
        config,
        resume=options.resume or goes_on,
        overwrite=options.overwrite and not goes_on,
        command=options.command or shlex.join(["python", "-m", "maporl_cli.worker", *sys.argv[1:]]),
        display=display,
        ranks=ranks,
        profile=options.profile,
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m maporl_cli.worker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a whole config, as a run keeps it")
    parser.add_argument(
        "--evaluate",
        metavar="REQUEST",
        help='evaluate, and do not train: what is asked as JSON, such as {"run": "runs/demo"}',
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run of that name")
    parser.add_argument("--overwrite", action="store_true", help="delete a run of that name")
    parser.add_argument("--display", choices=("rich", "plain", "none", "job"), default="plain")
    parser.add_argument("--profile", action="store_true", help="write profile.json")
    parser.add_argument("--command", default="", help=argparse.SUPPRESS)
    parser.add_argument("--outcome", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--launcher", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _stopped_early(number: int, frame: FrameType | None) -> None:
    """Asked to stop where the work does not yet, or no more, look after that itself: nothing is lost.

    Raises:
        Interrupted: always; a rank that died of the signal would be started again.
    """
    _stop_no_more()  # or the next signal would strike where this one is being told
    raise Interrupted("Stopped before the work began, or after it.", fix="run the same command again")


def _stopped_at_once() -> Interrupted:
    """What a second Ctrl-C comes to."""
    return Interrupted(
        "Stopped at once.",
        why="a stop was asked for twice, so the step was not waited for",
        fix="run the same command with --resume to go on from the last checkpoint",
    )


def _stop_no_more() -> None:
    """From here on this rank ends anyway, and its ending shall not be disturbed."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _settled(outcome: Path | None) -> int:
    """The exit code of ranks that torchrun starts anew although trying again would not help; else 0.

    It does so after any exit, also where one rank refused, or all were asked to stop. (Where some
    were, torchrun itself asked them, since another had died.)
    """
    if outcome is None:
        return 0
    kept = outcome / "settled.json"
    if kept.is_file():
        return read_object(kept)["code"]
    told = map(read_object, outcome.glob("rank_*.json"))
    codes = [failure["code"] for failure in told if failure["restarts"] == _restarts() - 1]
    refused = [code for code in codes if code not in (RunFailed.exit_code, Interrupted.exit_code)]
    stopped = codes.count(Interrupted.exit_code) == int(os.environ.get("WORLD_SIZE", "1"))
    code = refused[0] if refused else Interrupted.exit_code if stopped else 0
    if code:
        atomic_write(kept, json.dumps({"code": code}))  # for the start after this one
    return code


def _restarts() -> int:
    """How often torchrun has started the ranks anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _restarted(config: Config, ranks: Ranks) -> bool:
    """Whether torchrun started the ranks anew after they had begun a run.

    Raises:
        ConfigError: they could not tell which run it was.
    """
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and config.run.name is None:
        raise ConfigError(
            "Ranks that are started again could not find their run.",
            where="run.name",
            fix="give the run a name in the config",
        )
    if not _restarts():
        return False
    # Of all ranks: on several hosts, rank 0 need not be where it was.
    launches = set(ranks.gather(this_launch(), "which launch this is"))
    run = RunDir.of(config)
    # Without a manifest yet it can only be ours: one of somebody else's was refused at the first start.
    unsigned = run.config.exists() and not run.manifest.exists()
    begun = ranks.rank == 0 and (unsigned or not launches.isdisjoint(launches_of(run)))
    return ranks.broadcast(begun, "whether to go on")


def _fail(error: MaporlError, first: First, outcome: Path | None) -> int:
    """Tell of the error, once for all ranks, and give its exit code.

    Args:
        outcome: where the command that started the ranks looks for it, which then tells of it; None outside
            of that.
    """
    _stop_no_more()  # torchrun ends the ranks of a failed one, which is told first
    if isinstance(error, LostContact):
        time.sleep(_GRACE)
    if outcome is not None:
        told = {"what": error.what, "where": error.where, "why": error.why, "fix": error.fix}
        told |= {"rank": first.rank, "code": error.exit_code, "restarts": _restarts()}
        atomic_write(outcome / f"rank_{first.rank}.json", json.dumps(told))
    elif isinstance(error, Interrupted):
        if first.rank == 0:
            print(error.message, file=sys.stderr, flush=True)
    elif first.claim():
        print(f"Rank {first.rank} failed. {error.message}", file=sys.stderr, flush=True)
    return error.exit_code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: what a lost rank left unfinished in the process groups would be waited for.
    os._exit(code)
