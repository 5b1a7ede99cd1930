"""`maporl train --dry-run`: what a training would do and need, before it does anything.

Each part of a plan is data first, which `--json` prints; people get the same data as comments below
the config, so that what is printed is itself a file for `--config`. A further part is a function
that gives data, a function that gives lines, and a line for each in `show_plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from maporl_cli.cli.output import emit, result
from maporl_cli.core.errors import UsageError

if TYPE_CHECKING:
    from maporl_cli.cli.plan_time import Measured
    from maporl_cli.core.config import Config
    from maporl_cli.core.config_sources import Loaded

WIDTH = 106
"""Characters of a line of a plan, without the sign that makes it a comment."""
_MOST_RANKS = 16_384
"""A plan looks at every rank, which takes minutes far beyond any job there is."""

Part = Mapping[str, Any]
"""A part of a plan, in JSON's types."""


def show_plan(loaded: Loaded, world_size: int, json: bool, measured: Measured | None = None) -> None:
    """Print the plan of a training on so many ranks; nothing is written, downloaded or built.

    Args:
        measured: what to predict the time from; without it, none is predicted.

    Raises:
        UsageError: there are more of them than a plan can look at.
        ConfigError: the team cannot be placed on them, the batch arithmetic does not come out even, or
            the credit rule does not go with the rest.
        DataError: nothing can be predicted from what was measured.
    """
    from maporl_cli.agents.roles import role_book
    from maporl_cli.cli.plan_memory import memory_lines
    from maporl_cli.cli.plan_time import time_lines, time_part
    from maporl_cli.core.config_yaml import to_yaml
    from maporl_cli.training.fit import hosts_for
    from maporl_cli.training.placement import place
    from maporl_cli.worker.cautions import cautions
    from maporl_cli.worker.memory_plan import memory_part, placement_part, planned_device
    from maporl_cli.worker.rules import open_credit

    if world_size > _MOST_RANKS:
        raise UsageError(
            f"A plan of {world_size} ranks would take too long.",
            why="it looks at every rank",
            fix=f"--world-size {_MOST_RANKS} or less: beyond, replicas are like those before",
        )
    config = loaded.config
    if config.run.plugins:
        # A plug-in may hold the benchmark or the policies.
        from maporl_cli.worker.plugins import load_plugins

        load_plugins(config.run.plugins)
    open_credit(config, role_book(config.team.roles))
    placement = place(config.team.names, world_size, hosts_for(world_size))
    batch = batch_part(config, placement.replicas)
    where = placement_part(placement)
    memory = memory_part(config, placement, planned_device(config))
    time = None if measured is None else time_part(config, placement, batch["steps"], measured, memory)
    in_vain = list(cautions(config))
    if json:
        shown = config.model_dump(mode="json")
        emit(
            {
                "event": "plan",
                "config": shown,
                "origin": dict(loaded.origin),
                "batch": batch,
                "placement": where,
                "memory": memory,
                "time": time,
                "cautions": in_vain,
            }
        )
        return
    result(to_yaml(config, loaded.origin).rstrip())
    lines = (
        *batch_lines(batch),
        *placement_lines(where),
        *time_lines(time, where, batch),
        *memory_lines(memory, where),
        *caution_lines(in_vain),
    )
    for line in lines:
        result(f"# {line}".rstrip())


def caution_lines(part: Sequence[str]) -> Iterator[str]:
    """What the config sets in vain."""
    for caution in part:
        yield from wrap(f"Caution: {caution}.", WIDTH)


def batch_part(config: Config, replicas: int) -> Part:
    """The batch arithmetic of a training, in questions, episodes and steps."""
    from maporl_cli.core.batch_arithmetic import accumulation_steps, episodes_a_question
    from maporl_cli.training.questions import total_steps

    questions = 0 if config.train.max_steps is not None else _training_questions(config)
    places = len(config.team.agents) * config.team.max_rounds_per_episode
    return {
        "steps": total_steps(config.train, questions),
        "questions": config.train.batch_size,
        "sampling": config.rollout.sampling,
        "places": places,
        "group_size": config.rollout.group_size,
        "episodes": config.train.batch_size * episodes_a_question(config.rollout, places),
        "per_device_train_batch_size": config.train.per_device_train_batch_size,
        "gradient_accumulation_steps": accumulation_steps(config, replicas),
        "replicas": replicas,
    }


def batch_lines(part: Part) -> Iterator[str]:
    """The batch arithmetic as a sentence."""
    shared = f", on each of {part['replicas']} replicas" if part["replicas"] > 1 else ""
    passes = f"{part['gradient_accumulation_steps']} × {part['per_device_train_batch_size']}"
    if part["sampling"] == "comb":
        yield (
            f"{part['steps']} steps of {part['questions']} questions × (1 spine + {part['places']} places × "
            f"{part['group_size'] - 1} siblings) = {part['episodes']} episodes, or fewer where spines settle"
        )
        yield f"early; an agent learns from {passes} turns at a time{shared}"
        return
    yield (
        f"{part['steps']} steps of {part['questions']} questions × {part['group_size']}"
        f" = {part['episodes']} episodes, {passes} at a time{shared}"
    )


def _training_questions(config: Config) -> int:
    """How many questions an epoch has; only asked where epochs decide the number of steps."""
    from maporl_cli.data.splits import load_split

    return len(load_split(config).train)


def placement_lines(part: Part) -> Iterator[str]:
    """The size of the job; who is where stands in the table of memory."""
    counts = ((part["world_size"], "rank"), (part["hosts"], "host"), (part["replicas"], "replica"))
    yield ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
