"""Everything a run needs, built from its config in one place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maporl_cli.agents.build import (
    build_policies,
    build_team,
    cold_starts_of,
    compute_dtype,
    default_device,
    model_of,
)
from maporl_cli.agents.policy import Policy, Readable, Speaker, memory_errors
from maporl_cli.agents.roles import RoleBook, role_book
from maporl_cli.agents.stage import Floor
from maporl_cli.agents.team import Team
from maporl_cli.core.config import VERIFIER, AgentConfig, Config
from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.core.systems import SINGLE
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import ColdStarts
from maporl_cli.training.advantage import AnyEstimator, CriticEstimator
from maporl_cli.training.checkpoint import copy_weights
from maporl_cli.training.critic import Critic
from maporl_cli.training.placement import Placement, place
from maporl_cli.training.ranks import OneRank, Ranks
from maporl_cli.training.update import Learner
from maporl_cli.training.verifier import Verifier
from maporl_cli.worker.cold_starting import cold_start
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.rules import has_verifier, refuse_untrained

_AT_IT, _DONE = "at it", "done"


@dataclass(frozen=True, slots=True)
class Session:
    """A team that is ready to play.

    Attributes:
        book: the role book of the team.
        policies: those of this rank's agents.
        cold_starts: the benchmark that cold-starts the policies; None where they are pretrained.
        ranks: who has which agent of the team.
        reader: the model of the reward's verifier, beside the last agent; None elsewhere, or without one.
    """

    config: Config
    book: RoleBook
    policies: dict[str, Policy]
    team: Team
    cold_starts: ColdStarts | None
    ranks: Ranks
    reader: Readable | None


def open_session(
    config: Config,
    narrator: Narrator,
    ranks: Ranks,
    timeline: Timeline,
    *,
    verified: bool = True,
    speaker: Speaker | None = None,
) -> Session:
    """Build this rank's policies, and the team; nothing is trained yet.

    Args:
        ranks: those of the job, whatever agents they had before.
        timeline: told when this rank's agents speak.
        verified: build the model of the verifier as well, where the reward has one.
        speaker: speaks in the place of all agents, which then have no policies.

    Raises:
        ConfigError, MissingError: the team cannot be built as the config says.
    """
    cold_starts = cold_starts_of(config) if speaker is None else None
    vocabulary = None if cold_starts is None else cold_starts.vocabulary()
    ranks = ranks.placed(team_placement(config, ranks.placement))
    mine = ranks.placement.ranks[ranks.rank].agents
    book = role_book(config.team.roles)
    reading = [VERIFIER] if verified and config.team.names[-1] in mine and has_verifier(config, book) else []
    building = (*mine, *reading) if speaker is None else ()
    policies = build_policies(config, vocabulary, default_device(), narrator.say, building)
    reader = policies.pop(VERIFIER) if reading else None
    if not (reader is None or isinstance(reader, Readable)):
        raise ConfigError(
            f"The policy of the agent {config.team.names[-1]!r} cannot be read by a verifier.",
            where="reward.verifier=learned",
            why="the verifier is built as the last agent is, and this plug-in shows no hidden states",
            fix="give its policy `hidden_width` and `score(…, hidden=True)` (agents.policy.Readable), or "
            "--set reward.verifier=none",
        )
    stage = ranks.stage(Floor(timeline, narrator.stopping), narrator.stopping)
    team = build_team(config, policies if speaker is None else dict.fromkeys(mine, speaker), stage)
    return Session(config, book, policies, team, cold_starts, ranks, reader)


def open_alone(config: Config, narrator: Narrator) -> Session:
    """A team with all its agents on this one rank."""
    ranks = OneRank(place(config.team.names, 1))
    return open_session(config, narrator, ranks, Timeline(), verified=False)


def team_placement(config: Config, job: Placement) -> Placement:
    """Who has which agent of a team on the ranks of a job.

    Replicas have to share the questions of a step evenly. The job's own team does, or the job was
    refused; a baseline has fewer agents, so more replicas, and leaves ranks idle where it must.
    """
    names, questions = config.team.names, config.train.batch_size
    most = job.world_size // min(len(names), job.world_size)
    replicas = max(count for count in range(1, most + 1) if questions % count == 0)
    return place(names, job.world_size, job.nodes, replicas=replicas)


def open_learners(session: Session, estimator: AnyEstimator, *, steps: int) -> tuple[Learner, ...]:
    """A learner for each agent that is trained.

    Args:
        estimator: decides whether they have value heads.
        steps: the length of the learning-rate schedule.

    Raises:
        ConfigError: no agent is trained, or one has no hidden states for a value head to read.
    """
    config = session.config
    refuse_untrained(config)
    return tuple(
        Learner(
            seat.name,
            session.policies[seat.name],
            config.train,
            total_steps=steps,
            temperature=seat.temperature,
            learning_rate=seat.learning_rate or config.train.learning_rate,
            ranks=session.ranks,
            critic=_critic(seat, session) if isinstance(estimator, CriticEstimator) else None,
            scale_gradients=_in_halves(config),
        )
        for seat in config.team.agents
        if seat.trained and seat.name in session.policies
    )


def _critic(seat: AgentConfig, session: Session) -> Critic:
    policy, train = session.policies[seat.name], session.config.train
    if not isinstance(policy, Readable):
        raise ConfigError(
            f"{train.algorithm} needs a value head, and the agent {seat.name!r} has nothing for it to read.",
            where=f"train.algorithm={train.algorithm}, model.name={model_of(seat, session.config)}",
            why="its policy does not show hidden states (maporl_cli.agents.policy.Readable)",
            fix="use an estimator without a value head, such as --set train.algorithm=rloo",
        )
    return Critic(policy, shared=train.value_loss_coeff)


def open_verifier(session: Session) -> Verifier | None:
    """The reward's verifier, on every rank of the session; None where it has none."""
    config, last = session.config, session.config.team.agents[-1]
    if not has_verifier(config, session.book):
        return None
    return Verifier(
        session.reader,
        beside=last.name,
        book=session.book,
        config=config,
        learning_rate=last.learning_rate or config.train.learning_rate,
        ranks=session.ranks,
        scale_gradients=_in_halves(config),
    )


def _in_halves(config: Config) -> bool:
    """Whether gradients are small enough in fp16 to need a scaler."""
    return compute_dtype(config.model.dtype, default_device()) is torch.float16


def refuse_unknown_words(session: Session, questions: Sequence[Question]) -> None:
    """Raises DataError where tiny policies are asked what they have no words for: they would babble.

    The word's place is told and not the word, which may be a patient's.
    """
    if session.cold_starts is None:
        return
    known = set(session.cold_starts.vocabulary())
    for question in questions:
        texts = {"its question": question.text, "its context": question.context}
        texts |= {f"option {letter}": text for letter, text in question.options.items()}
        texts |= {f"evidence {n}": snippet.text for n, snippet in enumerate(question.evidence, start=1)}
        for name, text in texts.items():
            for number, word in enumerate(text.split(), start=1):
                if word not in known:
                    raise DataError(
                        "Tiny policies know no words but those of their benchmark.",
                        where=f"question {question.id}",
                        why=f"word {number} of {name} is none of the {len(known)} words of "
                        f"{session.config.data.train}",
                        fix="ask a team of pretrained models (maporl train --preset smollm2), or ask what "
                        "`maporl data sample` writes",
                    )


def cold_start_session(session: Session, narrator: Narrator) -> None:
    """Bring tiny policies from random weights to where reinforcement learning can begin.

    Rank 0 does, for all ranks. Pretrained policies are there already and stay as they are.
    """
    if session.cold_starts is None:
        return
    ranks, patience = session.ranks, session.config.placement.timeout
    told = time.monotonic()

    def on_step(phase: str, step: int, steps: int, loss: float) -> None:
        nonlocal told
        narrator.refuse_to_go_on(f"cold start, {phase}: step", step, steps)
        narrator.progress(f"cold start, {phase}: step", step, steps, f"loss {loss:.3f}")
        if time.monotonic() - told > patience / 4:  # it may last longer than the others would wait
            told = time.monotonic()
            ranks.broadcast(_AT_IT, "a sign that the cold start goes on")

    weights: Mapping[str, Tensor] = {}
    if ranks.rank == 0:
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
    while ranks.broadcast(_DONE, "the end of the cold start") == _AT_IT:
        pass
    start_from(weights, session)


def start_from(weights: Mapping[str, Tensor], session: Session) -> None:
    """Give every agent of every rank, and the verifier, the same weights, those that rank 0 has."""
    told = {name: tensor.detach().cpu() for name, tensor in weights.items()}
    shared = session.ranks.broadcast(told, "the starting weights")
    for policy in (*session.policies.values(), session.reader):
        if policy is not None:
            copy_weights(shared, policy)
