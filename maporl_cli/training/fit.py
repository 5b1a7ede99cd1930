"""Whether the ranks of a job fit the memory they have, and what to lower where they do not."""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from maporl_cli.agents.build import TINY, model_of
from maporl_cli.core.config import Config
from maporl_cli.training.memory import RankMemory, evaluation_rows, rollout_rows
from maporl_cli.training.placement import Placement

USABLE_GPU = 0.9
"""The share of a GPU's memory that a plan may fill; the rest is lost in gaps between allocations."""
USABLE_RAM = 0.6
"""The share of RAM. The C library gives freed memory back late: processes of 3 to 6 GB were measured
to take 1.1 to 1.6 times what their tensors did (glibc 2.36, torch 2.13). The system needs some too."""

_ACCUMULATION = "train.gradient_accumulation_steps"
_MICROBATCHES = "rollout.microbatches"
_SHORTEST = 32
"""Tokens; turns are not proposed to be cut shorter than this."""
_WORTH = 0.95
"""A change is worth its trouble if it leaves less than this share of what it is meant to lower."""

Part = Literal["held", "activations", "cache", "step"]


@dataclass(frozen=True, slots=True)
class Device:
    """What ranks run on.

    Attributes:
        name: of the GPU; `RAM` where there is none.
        bytes: its memory.
        shared: whether all ranks of a host share it; else each rank has one of its own.
    """

    name: str
    bytes: int
    shared: bool

    @property
    def usable(self) -> float:
        """Bytes that a plan may fill."""
        return (USABLE_RAM if self.shared else USABLE_GPU) * self.bytes


def device_at_hand() -> Device:
    """This machine's GPU, or its RAM where it has none."""
    if torch.cuda.is_available():
        return Device(
            torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory, shared=False
        )
    return Device("RAM", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), shared=True)


def hosts_for(world_size: int) -> int:
    """How many hosts like this one so many ranks need, equally many ranks on each: a rank a GPU."""
    gpus = max(1, torch.cuda.device_count()) if torch.cuda.is_available() else world_size
    return next(
        hosts for hosts in range(1, world_size + 1) if not world_size % hosts and world_size <= gpus * hosts
    )


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run with a team of its own: the team's training, or a baseline's after it.

    Attributes:
        name: `team`, or the baseline's.
        ranks: what each rank of the placement needs.
    """

    name: str
    placement: Placement
    ranks: tuple[RankMemory, ...]

    def load(self, device: Device) -> int:
        """The most bytes that any one device has to hold."""
        if not device.shared:
            return max(rank.peak for rank in self.ranks)
        hosts = dict.fromkeys(range(self.placement.nodes), 0)
        for place, rank in zip(self.placement.ranks, self.ranks, strict=True):
            hosts[place.node] += rank.peak
        return max(hosts.values())

    def fits(self, device: Device) -> bool:
        """Whether every device can hold what its ranks need."""
        return self.load(device) <= device.usable


Changes = dict[str, Any]
"""New values by dotted config key."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to change so that a job fits.

    Attributes:
        changes: in the order in which they were found; empty where no key helps.
        load: the most bytes that one device has to hold then.
        fits: whether that is little enough.
    """

    changes: Changes
    load: int
    fits: bool


def what_to_lower(config: Config, estimate: Callable[[Config], Sequence[Phase]], device: Device) -> Advice:
    """Changes of the config under which it fits, or as far as changes go.

    Always lowers what is in the way: weights and optimizer where they alone are too much, else
    whichever of activations and cache makes the peak. Within these, what leaves results alone comes first.

    Args:
        estimate: what a config needs, phase by phase, on the ranks that are planned for.
    """
    changes: Changes = {}
    while not (worst := _worst(estimate(config), device)).fits(device):
        found = _next_change(config, worst, estimate, device)
        if found is None:
            return Advice(changes, worst.load(device), fits=False)
        changes |= found
        config = _changed(config, found)
    return Advice(changes, worst.load(device), fits=True)


def _worst(phases: Sequence[Phase], device: Device) -> Phase:
    return max(phases, key=lambda phase: phase.load(device))


def _next_change(
    config: Config, worst: Phase, estimate: Callable[[Config], Sequence[Phase]], device: Device
) -> Changes | None:
    rank = max(worst.ranks, key=lambda rank: rank.peak)
    room = device.usable * rank.peak / worst.load(device)  # its share of a memory that it shares
    passing: list[Part] = ["activations", "cache", "step"]
    largest = max(passing, key=lambda part: getattr(rank, part))
    order: tuple[Part, ...] = ("held", largest) if rank.held > room else (largest, "held")
    for part in order:
        for changes in _REMEDIES[part](config, worst):
            after = _worst(estimate(_changed(config, changes)), device)
            if max(getattr(rank, part) for rank in after.ranks) < _WORTH * getattr(rank, part):
                return changes
    return None


def _activations(config: Config, phase: Phase) -> Iterator[Changes]:
    if not config.model.gradient_checkpointing:
        yield {"model.gradient_checkpointing": True}
    train = config.train
    if train.per_device_train_batch_size > 1:
        episodes = train.batch_size * config.rollout.group_size // phase.placement.replicas
        fewer = next(n for n in range(train.per_device_train_batch_size // 2, 0, -1) if episodes % n == 0)
        auto = {} if train.gradient_accumulation_steps == "auto" else {_ACCUMULATION: "auto"}
        yield auto | {"train.per_device_train_batch_size": fewer}
    yield from _shorter_turns(config, phase)


def _cache(config: Config, phase: Phase) -> Iterator[Changes]:
    replicas = phase.placement.replicas
    rows = max(rollout_rows(config, replicas), evaluation_rows(config))
    if rows > 1:
        half = rows // 2
        changes: Changes = {}
        if evaluation_rows(config) > half:
            changes["eval.batch_size"] = half
        count = config.rollout.microbatches
        while rollout_rows(_changed(config, {_MICROBATCHES: count}), replicas) > half:
            count *= 2
        if count > config.rollout.microbatches:
            changes[_MICROBATCHES] = count
        yield changes
    yield from _shorter_turns(config, phase)


def _shorter_turns(config: Config, phase: Phase) -> Iterator[Changes]:
    longest = max(seat.max_new_tokens for seat in config.team.agents)
    if longest > _SHORTEST:
        half = max(_SHORTEST, longest // 2)
        yield {
            f"team.agents.{seat.name}.max_new_tokens": half
            for seat in config.team.agents
            if seat.max_new_tokens > half
        }


def _held(config: Config, phase: Phase) -> Iterator[Changes]:
    if phase.name in config.eval.baselines:
        yield {"eval.baselines": ()}
    tiny = TINY in {model_of(seat, config) for seat in config.team.agents}
    if config.model.finetune == "full" and not tiny:  # tiny policies have no base to adapt
        yield {"model.finetune": "lora"}
    if config.model.finetune == "full" and config.train.kl_coeff:
        yield {"train.kl_coeff": 0.0}


_REMEDIES: Mapping[Part, Callable[[Config, Phase], Iterator[Changes]]] = {
    "held": _held,
    "activations": _activations,
    "cache": _cache,
    "step": _held,
}


def _changed(config: Config, changes: Changes) -> Config:
    content: Any = config.model_dump()
    for key, value in changes.items():
        section, *name, last = key.split(".")
        node = content[section]
        if name:  # team.agents.NAME.KEY
            node = next(seat for seat in node["agents"] if seat["name"] == name[-1])
        node[last] = value
    return Config.model_validate(content)
