"""A job of ranks: joining it, and making sure that all of its ranks mean the same run."""

# torch.distributed does not export all that it documents.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import flat
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.manifest import package_versions
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.training.ask_store import asked
from maporl_cli.training.placement import Placement, place
from maporl_cli.training.process_group import OWN_STORE, ProcessGroup
from maporl_cli.training.ranks import LostContact, OneRank, Ranks
from maporl_cli.training.schedule import schedule_idle

_MUCH_WAITING = 0.2
_ANSWERS_WITHIN = 5.0
"""Seconds; it is asked when all that a rank still has to do is to say why it ends."""


def open_store() -> dist.Store | None:
    """The key-value store of the job that `torchrun` started this process in; None outside of one.

    Raises:
        MissingError: it cannot be reached, or its port is in use.
        ConfigError: restarted ranks would hang.
    """
    if "WORLD_SIZE" not in os.environ:
        return None
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and os.environ.get(OWN_STORE) != "1":
        raise ConfigError(
            "Ranks that torchrun restarts would not find each other.",
            where="torchrun --max-restarts",
            why="torchrun lets them share the store of the ranks before, with the addresses of the dead",
            fix=f"{OWN_STORE}=1 torchrun …",
        )
    try:
        store, _, _ = next(dist.rendezvous("env://"))
    except (RuntimeError, ValueError) as error:
        at = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise MissingError(
            "The ranks cannot meet.",
            where=at,
            why=str(error).splitlines()[0],
            fix="give another --master-port where this one is in use; let every host reach that address",
        ) from error
    return store


def join(config: Config, store: dist.Store | None) -> Ranks:
    """The ranks of the job.

    Raises:
        ConfigError: the ranks differ, or the team cannot be placed on so many.
        MissingError: there is no GPU left for this rank on its host.
    """
    names = config.team.names
    if store is None:
        return OneRank(place(names, 1))
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise MissingError(
                f"There is no GPU for rank {rank}.",
                where=f"host {socket.gethostname()}",
                why=f"{local_size} ranks on this host, {torch.cuda.device_count()} GPUs",
                fix="start as many ranks as there are GPUs (--nproc), or hide them all with "
                "CUDA_VISIBLE_DEVICES= to train on the CPU",
            )
        torch.cuda.set_device(local)
        # Else a sum over the replicas returns at once, and the loss of a peer is never noticed.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    if world_size == 1:
        return OneRank(place(names, 1))
    timeout = config.placement.timeout
    try:
        dist.init_process_group(
            "gloo",
            store=dist.PrefixStore("default", store),
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=timeout),
        )
    except RuntimeError as error:
        raise LostContact("joining the job", "all ranks", str(error).splitlines()[0]) from error
    # Ranks that mean other teams would make other groups, and wait for each other in vain.
    met = ProcessGroup(place(("anybody",), world_size, replicas=1), rank, store, timeout)
    refuse_unlike(met, config, {})
    return met.placed(place(names, world_size, nodes=world_size // local_size))


@dataclass(frozen=True, slots=True)
class First:
    """Lets one rank of a job be the one that tells of a failure."""

    store: dist.Store | None
    rank: int

    def claim(self) -> bool:
        """Whether no other rank has told before; one of each host does where the ranks never met."""
        if self.store is None:
            return os.environ.get("LOCAL_RANK", "0") == "0"
        store, me = self.store, str(self.rank)
        return asked(
            lambda: store.compare_set("first failure", "", me).decode() == me,
            within=_ANSWERS_WITHIN,
            otherwise=True,  # better twice than not at all
        )


def refuse_unlike(ranks: Ranks, config: Config, sources: Mapping[str, str]) -> None:
    """Nothing, where all ranks have the same config, versions and data.

    Raises:
        ConfigError: on every rank; names the first field that differs, and the rank.
    """
    told = {
        **{f"config: {key}": value for key, value in flat(config).items()},
        **{f"version: {name}": version for name, version in package_versions().items()},
        **{f"data: {name}": digest for name, digest in sources.items()},
        "device": "GPU" if torch.cuda.is_available() else "CPU",
    }
    problem = ""
    first, *others = ranks.gather(told, "the ranks' settings") or [told]
    for rank, other in enumerate(others, 1):
        for field in dict.fromkeys([*first, *other]):
            if not problem and first.get(field) != other.get(field):
                problem = f"{field} is {first.get(field)!r} on rank 0 and {other.get(field)!r} on rank {rank}"
    if problem := ranks.broadcast(problem, "the comparison of settings"):
        raise ConfigError(
            "The ranks do not mean the same run.",
            why=problem,
            fix="start every host with the same config, data and installation",
        )


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def rank_line(ranks: Ranks) -> str:
    """Who this rank is."""
    place = ranks.placement.ranks[ranks.rank]
    agents = ", ".join(place.agents) or "no agent"
    of = f"rank {place.rank} of {ranks.placement.world_size}"
    replica = f" of replica {place.replica}" if ranks.placement.replicas > 1 else ""
    return f"{of}: {agents}{replica} on {_device_name()}"


def waiting_hint(config: Config, placement: Placement) -> str:
    """What to change where ranks would wait much of the time; empty where they would not, or nobody knows."""
    if config.rollout.sampling == "comb":
        return ""  # all its places are on their way at once, but begin at different agents
    mine = config.rollout.microbatches
    waits = schedule_idle(config, placement, mine)
    if waits <= _MUCH_WAITING:
        return ""
    told = f"with rollout.microbatches={mine}, ranks wait for each other about {waits:.0%} of a rollout"
    episodes = config.train.batch_size // placement.replicas * config.rollout.group_size
    counts = [2**power for power in range(1, 8) if mine < 2**power <= episodes]
    idle = {count: schedule_idle(config, placement, count) for count in counts}
    enough = [count for count in counts if idle[count] <= _MUCH_WAITING] or counts[-1:]
    return f"{told}; with {enough[0]}, {idle[enough[0]]:.0%}" if enough else told


def this_launch() -> str:
    """Names the start of torchrun on this host that this rank comes from; empty outside of one.

    It stays the same when torchrun starts the ranks anew. The job's id alone would not do: two starts
    of the same command may well share it, and the ranks of one would take the other's run for theirs.
    """
    # …/ID_RANDOM/attempt_N/RANK/error.json: a folder that each start makes for itself.
    file = os.environ.get("TORCHELASTIC_ERROR_FILE", "")
    return f"{Path(file).parents[2].name} on {socket.gethostname()}" if file else ""


def launches_of(run: RunDir) -> list[str]:
    """The starts of torchrun that began the run, or went on with it; it may be an older one of that name."""
    told = read_object(run.manifest)
    sittings = [told, *told.get("resumed", [])]
    return [launch for sitting in sittings for launch in sitting.get("topology", {}).get("launches", [])]


def describe(ranks: Ranks) -> dict[str, Any]:
    """The topology for the manifest; every rank has to ask, and rank 0 gets all of it."""
    mine = {
        "host": socket.gethostname(),
        "device": _device_name(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "launch": this_launch(),
    }
    found = ranks.gather(mine, "the topology")
    placement = ranks.placement
    return {
        "launches": sorted({told.pop("launch") for told in found} - {""}),
        "world_size": placement.world_size,
        "hosts": placement.nodes,
        "replicas": placement.replicas,
        "ranks": [
            {"rank": place.rank, "agents": list(place.agents), "replica": place.replica, **told}
            for place, told in zip(placement.ranks, found, strict=False)
        ],
    }
