"""The part of a plan that says what each rank needs, whether that fits, and what to change if not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from maporl_cli.cli.plan import WIDTH
from maporl_cli.core.errors import MaporlError

if TYPE_CHECKING:
    from maporl_cli.agents.blueprint import Blueprint
    from maporl_cli.core.config import Config
    from maporl_cli.training.fit import Device, Phase
    from maporl_cli.training.placement import Placement

_NO = "does not fit"
ROWS = 16
"""Beyond so many ranks only those of one replica have rows: the others are alike."""


def memory_part(config: Config, placement: Placement, elsewhere: Device | None = None) -> Mapping[str, Any]:
    """What each rank needs, in bytes; only `unknown`, a message, where a model is not on this machine.

    Args:
        elsewhere: what the ranks would run on, where that is not this machine.
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
    device = elsewhere or _device(config)
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


def _device(config: Config) -> Device | None:
    """What the ranks would run on; None where the config asks for a GPU and this machine has none."""
    from maporl_cli.training.fit import device_at_hand

    device = device_at_hand()
    return None if config.model.dtype == "fp16" and device.shared else device


def memory_lines(part: Mapping[str, Any], placement: Mapping[str, Any]) -> Iterator[str]:
    """The memory of a plan as a table, with what it assumes and what to change."""
    if "unknown" in part:
        yield "The memory it takes is not known."
        yield from part["unknown"].splitlines()
        return
    yield from _table(part, placement)
    for sentence in _sentences(part, placement):
        yield from wrap(sentence, WIDTH)
    if part["advice"]:
        # In one line, to be copied.
        yield f"Fix: {fix_of(part, placement)}"


def _table(part: Mapping[str, Any], placement: Mapping[str, Any]) -> Iterator[str]:
    # Imported here: the help needs no tables.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    device, figures = part["device"], ("model", "optimizer", "activations", "cache", "peak")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("rank", "host", "replica"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("agents", no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    verdict: list[str] = []
    if device is not None:
        # The only column that may be narrowed: a device's name may be long, and wraps.
        table.add_column(f"{device['name']}, {_size(device['bytes'])}", min_width=len(_NO))
        verdict = ["fits" if part["phases"]["team"]["fits"] else _NO]
    for place, rank in zip(placement["ranks"], part["ranks"], strict=True):
        if len(placement["ranks"]) > ROWS and place["replica"] > 0:
            continue
        who = [str(place["rank"]), str(place["host"]), str(place["replica"]), "\n".join(place["agents"])]
        table.add_row(*who, *(_size(rank[name]) for name in figures), *verdict)
    text = StringIO()
    Console(file=text, width=WIDTH, no_color=True).print(table)
    yield from (line.rstrip() for line in text.getvalue().strip("\n").splitlines() if line.strip())


def _sentences(part: Mapping[str, Any], placement: Mapping[str, Any]) -> Iterator[str]:
    """What the figures mean, and what they come to on a host."""
    device, replicas = part["device"], placement["replicas"]
    if len(placement["ranks"]) > ROWS and replicas > 1:
        others = "replica 1 is" if replicas == 2 else f"replicas 1 to {replicas - 1} are"
        yield f"That is replica 0; {others} like it."
    prompts = sorted(set(part["prompt_tokens"].values()))
    length = f"{prompts[0]:,} to {prompts[-1]:,}" if len(prompts) > 1 else f"{prompts[0]:,}"
    yield (
        f"Assumed are prompts of {length} tokens, and turns as long as they may be. The peak is "
        f"{_size(part['ranks'][0]['process'])} for the process, model, optimizer, and the largest of "
        "activations, cache and a copy of one agent's gradients, which come one after the other."
    )
    if part["verifier_beside"]:
        yield f"The reward's verifier is counted with {part['verifier_beside']}, as one more that learns."
    if device is None:
        yield "model.dtype=fp16 needs a GPU, and this machine has none: compare the peaks with yours."
        return
    for name, phase in part["phases"].items():
        if name != "team":
            yield (
                f"Baseline {name}, trained while the team's weights stay: {_size(phase['load'])}, "
                f"{'fits' if phase['fits'] else _NO}."
            )
    if device["shared"]:
        yield (
            f"All ranks of a host share its RAM: {_size(part['phases']['team']['load'])} of "
            f"{_size(device['bytes'])}, of which a plan may fill {_size(device['usable'])}, since freed "
            "memory goes back to the system late."
        )
    if advice := part["advice"]:
        yield "It does not fit. " + (
            f"This does, with {_size(advice['load'])}:"
            if advice["fits"]
            else f"With every setting lowered that helps it would still need {_size(advice['load'])}."
        )


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


def _size(count: int) -> str:
    """Bytes in the unit that suits them, decimal as devices are sold."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6)):
        if count >= scale:
            return f"{count / scale:.{0 if count >= 100 * scale else 1}f} {unit}"
    return f"{count / 1000:.1f} kB"
