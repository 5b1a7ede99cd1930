"""The program of a training job: `python -m maporl_cli.backends.sagemaker.container`.

It runs as the container's first process, so SageMaker's SIGTERM, of a stop or of spot capacity that is taken
back, reaches it, and through torchrun's agent all ranks: they write a checkpoint within the two minutes that
there are. The next container finds the run where SageMaker copied it, and goes on with it.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import FrameType

from maporl_cli.backends.local import Hosts, train_on_ranks
from maporl_cli.backends.sagemaker.delivery import deliver, write_failure
from maporl_cli.backends.sagemaker.environment import Container
from maporl_cli.backends.sagemaker.paths import CHECKPOINTS, CONFIG, CONFIG_CHANNEL, DOWNLOADS, channel
from maporl_cli.backends.sagemaker.ranks import ranks_of
from maporl_cli.core.atomic import discard, disk_error
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.config_yaml import parse_value
from maporl_cli.core.errors import (
    Interrupted,
    MaporlError,
    MissingError,
    RunFailed,
    debugging,
    unforeseen,
)
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.trial_values import with_values
from maporl_cli.training.checkpoint import Checkpoints
from maporl_cli.training.stop import STOPS

_STOP_WITHIN = 100
"""Seconds; SageMaker kills what still runs 120 seconds after it asked for a stop."""
_SEE_ALL = "start it again with --set sagemaker.environment.SAGEMAKER_TRAINING_DEBUG=1, and report its log"
_VERBOSE = {
    "MAPORL_DEBUG": "1",
    "TORCH_CPP_LOG_LEVEL": "INFO",
    "TORCH_DISTRIBUTED_DEBUG": "INFO",
    "NCCL_DEBUG": "INFO",
    "TRANSFORMERS_VERBOSITY": "info",
}


def main() -> int:
    """Train as the job's config says, and lay out the results; the exit code."""
    os.environ.setdefault("HF_HOME", str(DOWNLOADS))
    for number in STOPS:
        signal.signal(number, _stopped_early)
    try:
        here = Container.read(os.environ)
        if here.debug:
            os.environ.update(_VERBOSE)
        config = config_of(here)
    except MaporlError as error:
        return _fail(error)
    code, run = 0, RunDir.of(config)
    before = _state(run)
    try:
        _read_secrets(config.sagemaker.secrets)
        _train(here, config, run)
    except MaporlError as error:
        code = _fail(error)
        refused = code not in (RunFailed.exit_code, Interrupted.exit_code)
        if refused and _state(run) == before:
            return code  # it never began, so what lies there is an earlier job's
    except Exception as error:  # noqa: BLE001 the last place where it can be told in words
        code = _fail(unforeseen("The job", error, fix=_SEE_ALL))
    for number in STOPS:  # nothing is left to stop, and the results are all there is
        signal.signal(number, signal.SIG_IGN)
    try:
        deliver(run, own_ranks(here, config))
    except Exception as error:  # noqa: BLE001 as above
        named = str(error.filename2 or error.filename) if isinstance(error, OSError) else ""
        lost = disk_error(error, named)
        code = code or _fail(lost or unforeseen("The job", error, fix=_SEE_ALL))
    return code


def _state(run: RunDir) -> Mapping[str, tuple[int, int]]:
    """Size and time of each file of a run, but for what a run that is refused loses or gets anew: its config,
    and what was half written."""
    inside = {file: file.relative_to(run.path) for file in run.path.rglob("*")}
    found = [
        file
        for file, name in inside.items()
        if file.is_file() and file != run.config and not any(part.startswith(".") for part in name.parts)
    ]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in found}


def own_ranks(here: Container, config: Config) -> range:
    """The ranks of this host."""
    each = ranks_of(config, here.gpus, len(here.hosts))
    return range(each * here.index, each * (here.index + 1))


def config_of(here: Container) -> Config:
    """The job's config. A trial of a tuning job has its values, and a folder for its checkpoints.

    Raises:
        ConfigError: the channel has none, or a damaged one; or a trial's values cannot stand together.
    """
    file = channel(CONFIG_CHANNEL) / CONFIG
    config = load_config(preset=None, file=file, environ={}, sets=(), flags={}).config
    if here.values is None:
        return config
    values = {key: parse_value(text) for key, text in here.values.items()}
    return with_values(config, {**values, "run.output_dir": str(CHECKPOINTS / here.job)}, here.job)


def _train(here: Container, config: Config, run: RunDir) -> None:
    if here.index == 0:
        _mend(config, run)
    hosts = Hosts(job=here.job, stop_within=_STOP_WITHIN)
    if len(here.hosts) > 1:
        for library in ("NCCL", "GLOO"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", here.interface)
        hosts = replace(
            hosts, count=len(here.hosts), index=here.index, meeting=here.meeting, address=here.host
        )
    train_on_ranks(
        config,
        nproc=ranks_of(config, here.gpus, len(here.hosts)),
        hosts=hosts,
        max_restarts=0,
        resume=run.config.is_file(),
        overwrite=False,
        command=f"maporl train --on sagemaker (job {here.job})",
        display="job",
        profile=False,
    )


def _mend(config: Config, run: RunDir) -> None:
    """Makes a run whole of which SageMaker had not copied all to S3 when its container ended."""
    if run.config.is_file() or not run.path.exists():
        return
    try:
        begun = Checkpoints(run.checkpoints, keep=1).latest() is not None
    except RunFailed:  # none is whole
        begun = False
    if begun:
        run.write_config(config)
    else:
        discard(run.path)


def _read_secrets(secrets: Mapping[str, str]) -> None:
    """Put what Secrets Manager keeps into this process's environment, which its ranks have too."""
    if not secrets:
        return
    from maporl_cli.data.aws import aws_client, aws_errors, aws_session

    client = aws_client(aws_session(None), "secretsmanager")
    for name, secret in secrets.items():
        key = f"sagemaker.secrets.{name}"
        gone = MissingError(
            f"Secrets Manager has no secret of the name that {key} gives.",
            where=key,
            fix="correct its name, or make it in the region of the job",
        )
        with aws_errors(key, {"ResourceNotFoundException": lambda _, gone=gone: gone}):
            os.environ[name] = client.get_secret_value(SecretId=secret)["SecretString"]


def _stopped_early(number: int, frame: FrameType | None) -> None:
    raise Interrupted("Stopped before the ranks were started.", fix="start the job again")


def _fail(error: MaporlError) -> int:
    """Tell why the job ended; a stop that was asked for is no failure."""
    if debugging(os.environ):
        traceback.print_exception(error)
    if not isinstance(error, Interrupted):
        with suppress(OSError):  # on a full disk, too, what there is of the run has still to be handed out
            write_failure(error)
    print(error.message, file=sys.stderr, flush=True)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
