"""The equation that ties questions, groups, ranks and passes together, and how to repair it.

`batch_size × group_size = replicas × per_device_train_batch_size × gradient_accumulation_steps`,
all in episodes with `rollout.sampling: chain`. With `comb` the same holds of what an agent learns from: in
each round its own place of each question, where `group_size` turns are compared.
"""

from __future__ import annotations

from math import gcd

from maporl_cli.core.config import Config, RolloutConfig, TrainConfig
from maporl_cli.core.errors import ConfigError


def accumulation_steps(config: Config, replicas: int = 1) -> int:
    """Forward and backward passes in one update, on `replicas` copies of the team.

    Raises:
        ConfigError: the numbers contradict each other; the fix names values that would work.
    """
    if config.train.batch_size % replicas:
        below, above = _around(config.train.batch_size, replicas)
        raise ConfigError(
            "The questions of a step cannot be shared evenly by the replicas.",
            where="train.batch_size",
            why=f"{config.train.batch_size} questions, {replicas} replicas; the episodes of a question stay "
            "together, since they are compared",
            fix=f"set train.batch_size={f'{below} or {above}' if below else above}, or use fewer ranks",
        )
    try:
        return config.accumulation_steps(replicas)
    except ValueError as error:
        raise contradiction(str(error), config.train, config.rollout.group_size, replicas) from None


def episodes_a_question(plan: RolloutConfig, turns: int) -> int:
    """Episodes that a step plays of a question.

    Args:
        turns: that an episode has at most. The spine of a comb may end sooner, which leaves siblings out.
    """
    return plan.group_size if plan.sampling == "chain" else 1 + turns * (plan.group_size - 1)


def contradiction(
    why: str, train: TrainConfig, group_size: int, replicas: int = 1, where: str = ""
) -> ConfigError:
    """The error for batch numbers that contradict each other, with values that would work."""
    return ConfigError(
        "The batch arithmetic does not come out even.",
        where=where,
        why=why,
        fix=_fix(train, group_size, replicas),
    )


def _fix(train: TrainConfig, group_size: int, replicas: int) -> str:
    episodes = train.batch_size * group_size
    per_pass = replicas * train.per_device_train_batch_size
    if episodes % per_pass == 0:
        return f"--set train.gradient_accumulation_steps=auto (which gives {episodes // per_pass})"
    auto = (
        "" if train.gradient_accumulation_steps == "auto" else "train.gradient_accumulation_steps=auto and "
    )
    ways: list[str] = []
    if episodes % replicas == 0:
        ways.append(f"train.per_device_train_batch_size={_divisor(episodes // replicas, train)}")
    below, above = _around(train.batch_size, per_pass // gcd(group_size, per_pass))
    ways.append("train.batch_size=" + (f"{below} or {above}" if below else f"{above}"))
    return f"set {auto}" + ", or ".join(ways)


def _around(count: int, unit: int) -> tuple[int, int]:
    """The multiples of `unit` below and above a count that is none."""
    return count // unit * unit, (count // unit + 1) * unit


def _divisor(episodes: int, train: TrainConfig) -> int:
    """The largest pass that divides a replica's episodes and is no larger than the one asked for."""
    limit = min(train.per_device_train_batch_size, episodes)
    return next(size for size in range(limit, 0, -1) if episodes % size == 0)
