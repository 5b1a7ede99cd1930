"""Everything a run needs, built from its config in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from maporl_cli.agents.build import TINY, build_policies, build_team, compute_dtype, default_device
from maporl_cli.agents.policy import Policy
from maporl_cli.agents.roles import RoleBook, role_book
from maporl_cli.agents.team import Team
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import ColdStarts, benchmark, benchmark_names
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.advantage import ESTIMATORS, Estimator
from maporl_cli.training.credit import CREDIT_RULES, CreditRule
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
        cold_starts: the benchmark that cold-starts the policies; None where they are pretrained.
    """

    config: Config
    book: RoleBook
    policies: dict[str, Policy]
    team: Team
    cold_starts: ColdStarts | None


def open_session(config: Config, narrator: Narrator) -> Session:
    """Build policies and team; nothing is trained yet.

    Raises:
        ConfigError, MissingError: the team cannot be built as the config says.
    """
    cold_starts = _cold_starts(config)
    vocabulary = None if cold_starts is None else cold_starts.vocabulary()
    policies = build_policies(config, vocabulary, default_device(), narrator.say)
    return Session(config, role_book(config.team.roles), policies, build_team(config, policies), cold_starts)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a team is taught by: what an episode earns, who answers for it, what it is compared with."""

    reward: Reward
    credit: CreditRule
    estimator: Estimator


def open_rules(config: Config, book: RoleBook) -> Rules:
    """The rules that the config names.

    Raises:
        ConfigError: one of them is not there, or no reward could ever be earned.
    """
    return Rules(
        Reward(config.reward, book),
        _registered(CREDIT_RULES, config.train.credit, "train.credit"),
        _registered(ESTIMATORS, config.train.algorithm, "train.algorithm"),
    )


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
    seats = [seat for seat in config.team.agents if seat.trained]
    if not seats:
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
            scale_gradients=half,
        )
        for seat in seats
    )


def _cold_starts(config: Config) -> ColdStarts | None:
    models = {agent.model or config.model.name for agent in config.team.agents}
    if TINY not in models or config.data.train not in benchmark_names():
        return None
    found = benchmark(config.data.train)
    return found if isinstance(found, ColdStarts) else None


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

    Pretrained policies are there already and stay as they are.
    """
    if session.cold_starts is not None:
        # The baseline's role always: or whether it is trained would change what the team starts from.
        seats = [*(seat.name for seat in session.config.team.agents), SINGLE]
        cold_start(
            session.policies,
            session.book,
            [name for name in seats if name in session.book.roles],
            session.cold_starts,
            session.config,
            lambda phase, step, steps, loss: narrator.progress(
                f"cold start, {phase}: step", step, steps, f"loss {loss:.3f}"
            ),
        )
