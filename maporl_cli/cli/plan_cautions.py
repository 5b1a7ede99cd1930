"""Where a forecast goes beyond what was measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import flat
from maporl_cli.core.run_dir import RunDir, read_object
from maporl_cli.training.credit import credit_rules
from maporl_cli.training.fit import device_at_hand
from maporl_cli.training.forecast import learners
from maporl_cli.training.placement import Placement
from maporl_cli.training.rates import Rates
from maporl_cli.training.schedule import batches_of

_PACE = (
    "data.train",
    "model.",
    "reward.",
    "rollout.sampling",
    "team.agents.",
    "team.evidence",
    "team.roles",
    "train.algorithm",
    "train.kl_coeff",
    "train.per_device_train_batch_size",
    "train.update_epochs",
)
"""Settings that decide how fast a turn, a reward or an update is, by how their keys begin."""
_NO_PACE = (".learning_rate", ".trained")
"""Of an agent's settings, those that leave a turn as fast as it was."""


def ranks_of(run: RunDir) -> Sequence[Mapping[str, Any]]:
    """The ranks of the run's last sitting: host, device, threads, … of each; empty where it tells of none."""
    told = read_object(run.manifest)
    last = [told, *told.get("resumed", ())][-1]
    return last.get("topology", {}).get("ranks", ())


def cautions(config: Config, run: RunDir, placement: Placement, rates: Rates, gradient: int) -> Iterator[str]:
    """A sentence, without its full stop, for everything that the forecast has to guess or leaves out.

    Args:
        gradient: bytes of the largest agent's; 0 where that is not known.
    """
    yield from _unlike(config, run.load_config())
    yield from _sizes(config, placement, rates)
    if config.team.max_rounds_per_episode > len(rates.active):
        yield (
            f"no more than {len(rates.active)} rounds were played when it was measured, and more take no "
            "time here"
        )
    for agent in learners(config):
        if agent not in rates.update:
            yield f"no update of the {agent} was measured, and its updates take no time here"
    credit = credit_rules().get(config.train.credit)
    if credit is not None and credit.measurement is not None:
        yield f"what train.credit={config.train.credit} has to measure takes no time here"
    if placement.replicas > 1 and not gradient:
        yield "no time for the sum of gradients is in it"
    yield from _shared_hosts(placement, ranks_of(run))


def _unlike(config: Config, run: Config) -> Iterator[str]:
    mine, theirs = flat(config), flat(run)
    for key in dict.fromkeys([*mine, *theirs]):
        decides = key.startswith(_PACE) and not key.endswith(_NO_PACE)
        if decides and mine.get(key) != theirs.get(key):
            yield f"it was measured with {key}={theirs.get(key)}, and this is {mine.get(key)}"


def _sizes(config: Config, placement: Placement, rates: Rates) -> Iterator[str]:
    batches = batches_of(config, placement.replicas, config.rollout.microbatches)
    least, most = rates.sizes[0], rates.sizes[-1]
    if least == most and {*batches} != {least}:
        yield (
            f"all batches that were measured had {least} turns, so what a call costs cannot be told from "
            "what a turn costs; measure with a train.batch_size that rollout.microbatches does not divide"
        )
    if max(batches) > 2 * most or min(batches) * 2 < least:
        yield (
            f"batches of {least} to {most} turns were measured, and these begin with "
            f"{min(batches)} to {max(batches)}"
        )


def _shared_hosts(placement: Placement, measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What sharing a host's cores or a replica's network does to ranks is only in rates that had it too."""
    if not measured:
        return
    if len({rank["replica"] for rank in measured}) > 1:
        yield "it was measured on several replicas, whose sums of gradients are counted twice"
    if not device_at_hand().shared:
        return
    mine = max(sum(place.node == node for place in placement.ranks) for node in range(placement.nodes))
    hosts = [rank["host"] for rank in measured]
    theirs = max(map(hosts.count, hosts))
    threads, cores = max(rank["threads"] for rank in measured), os.cpu_count() or 1
    if mine * threads > cores:
        yield (
            f"{mine} ranks on a host with {threads} threads each, as measured, need {mine * threads} cores, "
            f"and this machine has {cores}"
        )
    elif mine > theirs:
        yield (
            f"it was measured with {theirs} on a host, and {mine} ranks slow each other; measure with "
            f"--nproc {mine}"
        )
