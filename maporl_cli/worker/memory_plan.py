"""Who is where in a training, what each rank needs, and what to change where that does not fit: data, in
JSON's types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from maporl_cli.core.errors import MaporlError

if TYPE_CHECKING:
    from maporl_cli.agents.blueprint import Blueprint
    from maporl_cli.core.config import Config
    from maporl_cli.training.fit import Device, Phase
    from maporl_cli.training.placement import Placement


def memory_part(config: Config, placement: Placement, device: Device | None) -> Mapping[str, Any]:
    """What each rank needs, in bytes; only `unknown`, a message, where a model is not on this machine.

    Args:
        device: what the ranks would run on; None: nobody knows.
    """
    from maporl_cli.agents.blueprint import blueprints
    from maporl_cli.agents.build import model_of
    from maporl_cli.training.fit import what_to_lower
    from maporl_cli.training.memory import prompt_tokens

    @cache
    def prints(finetune: str) -> dict[str, Blueprint]:
        model = config.model.model_copy(update={"finetune": finetune})
        return blueprints(config.model_copy(update={"model": model}))

    def estimate(changed: Config) -> list[Phase]:
        return _phases(changed, placement, prints(changed.model.finetune))

    try:
        models = prints(config.model.finetune)
    except MaporlError as error:
        return {"unknown": error.message}
    team, *baselines = estimate(config)
    advice = None
    if device is not None and not all(phase.fits(device) for phase in (team, *baselines)):
        advice = asdict(what_to_lower(config, estimate, device))
    return {
        "prompt_tokens": {
            seat.name: prompt_tokens(seat, models[model_of(seat, config)]) for seat in config.team.agents
        },
        "verifier_beside": config.team.names[-1] if config.reward.verifier == "learned" else None,
        "device": None if device is None else asdict(device) | {"usable": int(device.usable)},
        "ranks": [
            {
                "rank": place.rank,
                "model": rank.model,
                "optimizer": rank.optimizer,
                "activations": rank.activations,
                "cache": rank.cache,
                "step": rank.step,
                "process": rank.process,
                "peak": rank.peak,
            }
            for place, rank in zip(placement.ranks, team.ranks, strict=True)
        ],
        "phases": {
            phase.name: {
                "load": None if device is None else phase.load(device),
                "fits": None if device is None else phase.fits(device),
            }
            for phase in (team, *baselines)
        },
        "advice": advice,
    }


def _phases(config: Config, placement: Placement, models: Mapping[str, Blueprint]) -> list[Phase]:
    """The team's training, and that of each baseline, while the team's policies are still in memory."""
    from maporl_cli.training.fit import Phase
    from maporl_cli.training.memory import rank_memory

    def phase(name: str, config: Config, placement: Placement) -> Phase:
        # Replicas are alike, and there may be very many.
        seats = {place.agents for place in placement.ranks}
        needs = {agents: rank_memory(config, agents, models, placement.replicas) for agents in seats}
        return Phase(name, placement, tuple(needs[place.agents] for place in placement.ranks))

    team = phase("team", config, placement)
    found = [team]
    for name in config.eval.baselines:
        from maporl_cli.worker.baselines import baseline_config
        from maporl_cli.worker.session import team_placement

        alone = baseline_config(config, name)
        own = phase(name, alone, team_placement(alone, placement))
        ranks = [
            replace(rank, model=rank.model + kept.model, gradients=rank.gradients + kept.gradients)
            for rank, kept in zip(own.ranks, team.ranks, strict=True)
        ]
        found.append(replace(own, ranks=tuple(ranks)))
    return found


def placement_part(placement: Placement) -> Mapping[str, Any]:
    """Which rank has which agents."""
    return {
        "world_size": placement.world_size,
        "hosts": placement.nodes,
        "replicas": placement.replicas,
        "ranks": [
            {"rank": place.rank, "host": place.node, "replica": place.replica, "agents": list(place.agents)}
            for place in placement.ranks
        ],
    }


def planned_device(config: Config) -> Device | None:
    """What the ranks would run on; None where the config asks for a GPU and this machine has none."""
    from maporl_cli.training.fit import device_at_hand

    device = device_at_hand()
    return None if config.model.dtype == "fp16" and device.shared else device


def fix_of(part: Mapping[str, Any], placement: Mapping[str, Any]) -> str:
    """What to change where it does not fit."""
    advice, device = part["advice"], part["device"]
    if advice["fits"]:
        return " ".join(f"--set {key}={_value(value)}" for key, value in advice["changes"].items())
    ways = ["a smaller model.name", "more memory"]
    if device["shared"] and placement["world_size"] > placement["hosts"]:
        ways.append("fewer ranks on a host (--nproc)")
    if not device["shared"] and any(len(place["agents"]) > 1 for place in placement["ranks"]):
        ways.append("a GPU for each agent (--nproc)")
    return f"use {', or '.join(ways)}"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
