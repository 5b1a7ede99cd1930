"""What a message told a reader: how much likelier it made the right answer, on top of the team's reward.

`credit_i = γ^(T−i)·R + Φ_i − Φ_{i−1}`, where `Φ_i` is the probability of the gold option to the frozen start
of the last agent once it has heard the first i messages. The form is that of potential-based shaping (Ng,
Harada and Russell 1999, "Policy invariance under reward transformations"). Their invariance holds for
returns, in which all later differences count too and, with Φ = 0 at the end, leave `−Φ_{i−1}`: a baseline.
Here a turn gets its own difference only, which does prefer messages that inform the reader: its purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import exp, fsum
from typing import cast

from maporl_cli.agents.policy import Policy, memory_errors
from maporl_cli.agents.roles import RoleBook
from maporl_cli.agents.team import Agent, Team
from maporl_cli.core.config import Config, TrainConfig
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Episode, Group
from maporl_cli.training.credit.rule import Means
from maporl_cli.training.credit.team import team_credit

READINGS = "readings"
"""Before the first turn and after each: the reader's probability of the gold option."""

_DECIDE_MEMORY = "train.per_device_train_batch_size"

Row = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a prompt and of an answer to it."""


def potential_credit(episode: Episode, train: TrainConfig) -> list[float]:
    """The team's credit, and what each turn did to the reader's probability of the gold option.

    A question without options, or without a gold one, has no such probability, and the team's credit alone.

    Raises:
        ValueError: the episode has no score yet, or was not read.
    """
    team = team_credit(episode, train)
    if not _can_be_read(episode):
        return team
    if READINGS not in episode.measured:
        raise ValueError("potential needs episodes that were read")
    readings = episode.measured[READINGS]
    return [
        own + after - before for own, before, after in zip(team, readings[:-1], readings[1:], strict=True)
    ]


def measure_readings(groups: Sequence[Group], taught: Sequence[Group], means: Means) -> int:
    """Let the last agent's frozen start read the taught groups; the tokens it read.

    Told group by group, since ranks wait meanwhile: reading all may take longer than they would.
    """
    rows = means.config.train.per_device_train_batch_size
    reads = means.team.agents[-1].policy is not None
    total = 0
    for group in taught:
        episodes = [episode for episode in group.episodes if _can_be_read(episode)]
        own = read_all(means.team, episodes, rows=rows) if reads else None
        found = means.ranks.gather_in_replica(own, "what the reader made of the turns")
        readings, tokens = next(one for one in found if one is not None)
        for episode, values in zip(episodes, readings, strict=True):
            episode.measured = {**episode.measured, READINGS: values}
        total += tokens
    return total


def read_all(team: Team, episodes: Sequence[Episode], *, rows: int) -> tuple[list[tuple[float, ...]], int]:
    """The probability of each episode's gold option before its first turn and after each; the tokens read.

    `P(o) = softmax over options of Σ log π_start(answer with o)`, at the agent's temperature.

    Args:
        episodes: of questions with options, of which one is known to be right.
        rows: answers that are scored together.
    """
    reader = team.agents[-1]
    assert reader.policy is not None, "the turns are read where the reader is"
    policy, write = cast(Policy, reader.policy), team.book.write  # who learns is no mere speaker
    assert write is not None, "a book without it was refused"
    heard = [
        replace(episode, turns=episode.turns[:count])
        for episode in episodes
        for count in range(len(episode.turns) + 1)
    ]
    encode = cache(policy.encode_turn)
    asked = [
        {letter: (prompt, encode(write(episode.question, letter))) for letter in episode.question.options}
        for prompt, episode in zip(team.prompts(reader, heard), heard, strict=True)
    ]
    # Episodes of a group hear the same at first, and siblings for longer.
    distinct = list(dict.fromkeys(row for options in asked for row in options.values()))
    logprobs = dict(zip(distinct, _logprobs(reader, policy, distinct, rows), strict=True))
    gold = (
        _share(logprobs[options[episode.question.answer]], [logprobs[row] for row in options.values()])
        for episode, options in zip(heard, asked, strict=True)
    )
    readings = [tuple(next(gold) for _ in range(len(episode.turns) + 1)) for episode in episodes]
    return readings, sum(len(prompt) + len(answer) for prompt, answer in distinct)


def _logprobs(reader: Agent, policy: Policy, asked: Sequence[Row], rows: int) -> list[float]:
    """Of each whole answer, in nats."""
    found: list[float] = []
    with memory_errors(reader.name, "reading the turns", _DECIDE_MEMORY):
        for start in range(0, len(asked), rows):
            part = asked[start : start + rows]
            logprobs = policy.reference_logprobs(
                [prompt for prompt, _ in part],
                [answer for _, answer in part],
                temperature=reader.temperature,
            )
            found += [
                float(row[: len(answer)].double().sum())
                for row, (_, answer) in zip(logprobs, part, strict=True)
            ]
    return found


def _share(logprob: float, logprobs: Sequence[float]) -> float:
    """A probability among those of all options, of which their sum may be far below 1, or below any float."""
    most = max(logprobs)
    return exp(logprob - most) / fsum(exp(other - most) for other in logprobs)


def _can_be_read(episode: Episode) -> bool:
    return bool(episode.question.options) and episode.question.has_gold


def refuse_unwritten(config: Config, book: RoleBook) -> None:
    """Raises ConfigError for a role book that cannot write an answer, which the reader would be asked for."""
    if book.write is None:
        raise ConfigError(
            f"The role book {book.name!r} does not say how an answer is written.",
            where="train.credit=potential",
            why="its reader is asked how likely it would write each option",
            fix="give the book a `write` (agents/roles.py), or --set train.credit=team",
        )
