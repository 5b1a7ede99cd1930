"""Several ranks on this machine, alone or beside other hosts, started by torchrun's own API."""

# torch.distributed.elastic leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from maporl_cli.core.atomic import discard
from maporl_cli.core.batch_arithmetic import accumulation_steps
from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import Interrupted, RunFailed
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.core.run_lock import alone_in
from maporl_cli.training.placement import Placement, place
from maporl_cli.training.process_group import OWN_STORE
from maporl_cli.training.stop import heeded
from maporl_cli.worker.evaluate import cut_short
from maporl_cli.worker.job import launches_of
from maporl_cli.worker.launcher import EVENT
from maporl_cli.worker.request import Request

_LAST_LINES = 5


class RankFailed(RunFailed):
    """A rank ended the job; exits as the rank did."""

    def __init__(self, what: str, *, where: str, why: str, fix: str, code: int) -> None:
        super().__init__(what, where=where, why=why, fix=fix)
        self.exit_code = code


@dataclass(frozen=True, slots=True)
class _Job:
    """What is told of a job that did not end well.

    Attributes:
        log: where a rank's lines are kept; None where a job keeps none.
        again: how the command is run again, as words after "run the same command".
        interrupted: what is raised where all ranks were asked to stop.
        memory: the setting that decides how much memory it takes.
    """

    log: Callable[[int], Path | None]
    again: Callable[[], str]
    interrupted: Callable[[], Interrupted]
    memory: str


@dataclass(frozen=True, slots=True)
class Hosts:
    """The machines of a job, equally many ranks on each.

    Attributes:
        index: which of them this one is; the first has rank 0.
        meeting: address and port of the first, where ranks find each other.
        address: of this one, for the others.
        job: names the job, alike on all of them; empty: this start alone.
        stop_within: seconds that ranks have to write a checkpoint when they are asked to stop.
    """

    count: int = 1
    index: int = 0
    meeting: str = "localhost:0"
    address: str = "localhost"
    job: str = ""
    stop_within: int = 60


ALONE = Hosts()


def train_on_ranks(
    config: Config,
    *,
    nproc: int,
    hosts: Hosts = ALONE,
    max_restarts: int,
    resume: bool,
    overwrite: bool,
    command: str,
    display: str,
    profile: bool,
) -> dict[str, Any]:
    """Train on `nproc` ranks of this machine; returns the `done` event, which only the first host has.

    Args:
        config: with a run name.
        max_restarts: how often the ranks are started anew from the last checkpoint when one fails.

    Raises:
        MaporlError: the first failure of any rank, with its name. `Interrupted` after Ctrl-C or SIGTERM.
    """
    accumulation_steps(config, place(config.team.names, nproc * hosts.count, hosts.count).replicas)
    # Here already, since a rank that was started again could not tell this command's run from an older one.
    run = RunDir.of(config)
    if hosts.index == 0:  # the others neither read nor write it
        with alone_in(run):
            RunDir.refuse(config, resume=resume, overwrite=overwrite)
    flags = {"--resume": resume, "--overwrite": overwrite, "--profile": profile}
    arguments = [
        "--command",
        command,
        *(flag for flag, given in flags.items() if given),
    ]
    goes_on = f"with --resume --name {run.path.name} to go on from the last checkpoint"
    job = _Job(
        run.rank_log,
        lambda: goes_on if run.config.is_file() else "again",
        lambda: _training_interrupted(run),
        "train.per_device_train_batch_size",
    )
    job_id = hosts.job or uuid.uuid4().hex
    try:
        return _on_ranks(
            config,
            arguments,
            job,
            job_id,
            display=display,
            nproc=nproc,
            hosts=hosts,
            max_restarts=max_restarts,
        )
    except RankFailed as error:
        refused = error.exit_code not in (RunFailed.exit_code, Interrupted.exit_code)
        if refused and not resume and not run.checkpoints.exists() and _opened_by(job_id, run):
            discard(run.path)  # it never began: the corrected command shall not find it in its way
        raise


def evaluate_on_ranks(config: Config, request: Request, *, nproc: int, display: str) -> dict[str, Any]:
    """Evaluate on `nproc` ranks of this machine; returns what `worker.evaluate_run` does.

    Raises:
        MaporlError: the first failure of any rank, with its name. `Interrupted` after Ctrl-C or SIGTERM.
    """
    place(config.team.names, nproc)
    goes_on = "with --resume to go on from the answers so far"
    job = _Job(lambda _: None, lambda: goes_on, cut_short, "eval.batch_size")
    arguments = ["--evaluate", request.to_json()]
    job_id = uuid.uuid4().hex
    return _on_ranks(
        config, arguments, job, job_id, display=display, nproc=nproc, hosts=ALONE, max_restarts=0
    )


def _on_ranks(
    config: Config,
    arguments: Sequence[str],
    job: _Job,
    job_id: str,
    *,
    display: str,
    nproc: int,
    hosts: Hosts,
    max_restarts: int,
) -> dict[str, Any]:
    """Start the worker program on so many ranks; what rank 0 gives.

    Raises:
        RankFailed: the first failure of any rank.
        Interrupted: after Ctrl-C or SIGTERM.
    """
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what it would say is told in our words
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    # Each rank tells of a lost one in its own words; the network layer adds pages of its own.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ[OWN_STORE] = "1"
    with TemporaryDirectory(prefix="maporl-") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(to_yaml(config), encoding="utf-8")
        worker = ["-m", "maporl_cli.worker", "--config", str(file), "--outcome", folder]
        worker += ["--launcher", str(os.getpid()), "--display", display, *arguments]
        # Else the others are silent, and what they print all the same tells why one failed.
        others = {} if display == "job" else dict.fromkeys(range(1, nproc), Std.ALL)
        logs = DefaultLogsSpecs(log_dir=folder, redirects={0: Std.NONE} | others)
        launch = LaunchConfig(
            min_nodes=hosts.count,
            max_nodes=hosts.count,
            nproc_per_node=nproc,
            run_id=job_id,
            rdzv_backend="c10d",
            rdzv_endpoint=hosts.meeting,
            rdzv_configs={"is_host": str(int(hosts.index == 0))} if hosts.count > 1 else {},
            local_addr=hosts.address,
            max_restarts=max_restarts,
            logs_specs=logs,
            shutdown_timeout=hosts.stop_within,
            signals_to_handle=",".join(number.name for number in heeded()),
        )
        # A resumed run has logs already, whose last lines tell how an earlier sitting ended.
        first = nproc * hosts.index
        earlier = {rank: _size(job.log(rank)) for rank in range(first, first + nproc)}
        try:
            elastic_launch(launch, sys.executable)(*worker)
        except SignalException as error:
            raise job.interrupted() from error
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode == Interrupted.exit_code:
                raise job.interrupted() from error
            placement = place(config.team.names, nproc * hosts.count, hosts.count)
            raise _told(placement, job, rank, failure, Path(folder), earlier) from error
        return read_object(Path(folder) / EVENT)


def _opened_by(job: str, run: RunDir) -> bool:
    """Whether the run is this command's own, and not one that another command began meanwhile."""
    return any(launch.startswith(job) for launch in launches_of(run))


def _training_interrupted(run: RunDir) -> Interrupted:
    if not run.config.is_file():
        return Interrupted("Stopped on all ranks before the run began.", fix="run the same command again")
    latest = run.checkpoints / "latest"
    kept = (
        f"the last checkpoint is {latest.read_text()}"
        if latest.is_file()
        else "no checkpoint was written yet"
    )
    return Interrupted(
        "Stopped on all ranks.",
        where=str(run.path),
        why=kept,
        fix=f"run the same command with --resume --name {run.path.name} to go on",
    )


def _told(
    placement: Placement,
    job: _Job,
    rank: int,
    failure: ProcessFailure,
    folder: Path,
    earlier: Mapping[int, int],
) -> RankFailed:
    told = _words(folder, rank, failure)
    rank = told.get("rank", rank)
    agents = ", ".join(placement.ranks[rank].agents)
    who = f"Rank {rank} ({agents})"
    log = job.log(rank)
    output = sorted(folder.rglob(f"attempt_*/{rank - min(earlier)}/stderr.log"))[-1:]
    where = "" if log is None else str(log)
    if failure.exitcode < 0:
        return RankFailed(
            f"{who} was killed by {signal.Signals(-failure.exitcode).name}.",
            where=where,
            why=_last_lines(log, earlier.get(rank, 0), output),
            fix=f"run the same command {job.again()}; where memory ran out, lower {job.memory}",
            code=1,
        )
    if not told:
        told = {"what": f"It ended with exit code {failure.exitcode}.", "where": where}
        told |= {
            "why": _last_lines(log, earlier.get(rank, 0), output),
            "fix": "look at its log, and report it",
        }
    return RankFailed(
        f"{who} failed. {told['what']}",
        where=told["where"],
        why=told["why"],
        fix=told["fix"],
        code=failure.exitcode,
    )


def _words(folder: Path, rank: int, failure: ProcessFailure) -> Mapping[str, Any]:
    """What a rank wrote of its failure; of ranks that were started again and gave up at once, the first's."""
    own = read_object(folder / f"rank_{rank}.json")
    if failure.exitcode < 0 or own.get("code") == failure.exitcode:
        return own
    others = [read_object(file) for file in sorted(folder.glob("rank_*.json"))]
    return next((told for told in others if told["code"] == failure.exitcode), {})


def _last_lines(log: Path | None, start: int, output: Sequence[Path]) -> str:
    """The last that the rank's log got behind `start`, and its output."""
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    for file, offset in ((log, start), *((path, 0) for path in output)):
        if file is not None and file.is_file():
            text = file.read_bytes()[offset if _size(file) >= offset else 0 :]
            lines.extend(text.decode("utf-8", errors="replace").splitlines())
    return "\n  ".join(["its last lines:", *lines]) if lines else "it had not said anything yet"


def _size(file: Path | None) -> int:
    return file.stat().st_size if file is not None and file.is_file() else 0
