"""Everything a run needs, built from its config in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from maporl_cli.agents.build import (
    build_policies,
    build_team,
    cold_starts_of,
    compute_dtype,
    default_device,
)
from maporl_cli.agents.policy import Policy, memory_errors
from maporl_cli.agents.roles import RoleBook, role_book
from maporl_cli.agents.stage import Floor
from maporl_cli.agents.team import Team
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import ColdStarts
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.advantage import Estimator, estimators
from maporl_cli.training.checkpoint import copy_weights
from maporl_cli.training.credit import Credit, credit_rules
from maporl_cli.training.placement import Placement, place
from maporl_cli.training.ranks import OneRank, Ranks
from maporl_cli.training.update import Learner
from maporl_cli.worker.baselines import SINGLE
from maporl_cli.worker.cold_starting import cold_start
from maporl_cli.worker.narrator import Narrator

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """A team that is ready to play.

    Attributes:
        book: the role book of the team.
        policies: those of this rank's agents.
        cold_starts: the benchmark that cold-starts the policies; None where they are pretrained.
        ranks: who has which agent of the team.
    """

    config: Config
    book: RoleBook
    policies: dict[str, Policy]
    team: Team
    cold_starts: ColdStarts | None
    ranks: Ranks


def open_session(config: Config, narrator: Narrator, ranks: Ranks, timeline: Timeline) -> Session:
    """Build this rank's policies, and the team; nothing is trained yet.

    Args:
        ranks: those of the job, whatever agents they had before.
        timeline: told when this rank's agents speak.

    Raises:
        ConfigError, MissingError: the team cannot be built as the config says.
    """
    cold_starts = cold_starts_of(config)
    vocabulary = None if cold_starts is None else cold_starts.vocabulary()
    ranks = ranks.placed(team_placement(config, ranks.placement))
    mine = ranks.placement.ranks[ranks.rank].agents
    policies = build_policies(config, vocabulary, default_device(), narrator.say, mine)
    stage = ranks.stage(Floor(timeline, narrator.stopping), narrator.stopping)
    team = build_team(config, policies, stage)
    return Session(config, role_book(config.team.roles), policies, team, cold_starts, ranks)


def open_alone(config: Config, narrator: Narrator) -> Session:
    """A team with all its agents on this one rank."""
    return open_session(config, narrator, OneRank(place(config.team.names, 1)), Timeline())


def team_placement(config: Config, job: Placement) -> Placement:
    """Who has which agent of a team on the ranks of a job.

    Replicas have to share the questions of a step evenly. The job's own team does, or the job was
    refused; a baseline has fewer agents, so more replicas, and leaves ranks idle where it must.
    """
    names, questions = config.team.names, config.train.batch_size
    most = job.world_size // min(len(names), job.world_size)
    replicas = max(count for count in range(1, most + 1) if questions % count == 0)
    return place(names, job.world_size, job.nodes, replicas=replicas)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a team is taught by: what an episode earns, who answers for it, what it is compared with."""

    reward: Reward
    credit: Credit
    estimator: Estimator


def open_rules(config: Config, book: RoleBook) -> Rules:
    """The rules that the config names.

    Raises:
        ConfigError: one of them is not there or does not fit, or no reward could ever be earned.
    """
    return Rules(
        Reward(config.reward, book),
        open_credit(config, book),
        _registered(estimators(), config.train.algorithm, "train.algorithm"),
    )


def open_credit(config: Config, book: RoleBook) -> Credit:
    """The credit rule that the config names.

    Raises:
        ConfigError: it is not there, or what it has to measure does not go with the config or the book.
    """
    credit = _registered(credit_rules(), config.train.credit, "train.credit")
    if credit.measurement is not None:
        credit.measurement.refuse(config, book)
    return credit


def _registered(rules: Mapping[str, T], name: str, key: str) -> T:
    if name not in rules:
        raise ConfigError(
            f"There is no {key} {name!r}.", where=key, fix=f"use one of these: {', '.join(rules)}"
        )
    return rules[name]


def open_learners(session: Session, *, steps: int) -> tuple[Learner, ...]:
    """A learner for each agent that is trained.

    Args:
        steps: the length of the learning-rate schedule.

    Raises:
        ConfigError: no agent is trained.
    """
    config = session.config
    if not any(seat.trained for seat in config.team.agents):
        raise ConfigError(
            "No agent is trained.",
            where="team.agents.*.trained",
            fix="leave `trained` true for at least one agent, or use `maporl eval`",
        )
    half = compute_dtype(config.model.dtype, default_device()) is torch.float16
    return tuple(
        Learner(
            seat.name,
            session.policies[seat.name],
            config.train,
            total_steps=steps,
            temperature=seat.temperature,
            learning_rate=seat.learning_rate or config.train.learning_rate,
            ranks=session.ranks,
            scale_gradients=half,
        )
        for seat in config.team.agents
        if seat.trained and seat.name in session.policies
    )


def refuse_unknown_words(session: Session, questions: Sequence[Question]) -> None:
    """Raises DataError where tiny policies are asked what they have no words for: they would babble."""
    if session.cold_starts is None:
        return
    known = set(session.cold_starts.vocabulary())
    for question in questions:
        texts = [question.text, question.context, *question.options.values()]
        texts += [snippet.text for snippet in question.evidence]
        unknown = [word for text in texts for word in text.split() if word not in known]
        if unknown:
            raise DataError(
                "Tiny policies know no words but those of their benchmark.",
                where=f"question {question.id}",
                why=f"{unknown[0]!r} is none of the {len(known)} words of {session.config.data.train}",
                fix="ask a team of pretrained models (maporl train --preset smollm2), or ask what "
                "`maporl data sample` writes",
            )


def cold_start_session(session: Session, narrator: Narrator) -> None:
    """Bring tiny policies from random weights to where reinforcement learning can begin.

    Rank 0 does, for all ranks. Pretrained policies are there already and stay as they are.
    """
    if session.cold_starts is None:
        return

    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        narrator.refuse_to_go_on(f"cold start, {phase}: step", step, steps)
        narrator.progress(f"cold start, {phase}: step", step, steps, f"loss {loss:.3f}")

    weights: Mapping[str, Tensor] = {}
    if session.ranks.rank == 0:
        # The baseline's role always: or whether it is trained would change what the team starts from.
        seats = [*session.config.team.names, SINGLE]
        agent, base = next(iter(session.policies.items()))
        with memory_errors(agent, "the cold start", "train.cold_start.batch_size"):
            cold_start(
                base,
                session.book,
                [name for name in seats if name in session.book.roles],
                session.cold_starts,
                session.config,
                on_step,
            )
        weights = base.trainable()
    start_from(weights, session)


def start_from(weights: Mapping[str, Tensor], session: Session) -> None:
    """Give every agent of every rank the same weights, those that rank 0 has."""
    told = {name: tensor.detach().cpu() for name, tensor in weights.items()}
    shared = session.ranks.broadcast(told, "the starting weights")
    for policy in session.policies.values():
        copy_weights(shared, policy)
