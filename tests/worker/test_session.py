"""How a session places its team on the ranks of a job, starts it, and who gets a value head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from example_files import load
from support import alone, tiny_policy
from torch.nn.utils import parameters_to_vector

from maporl_cli.agents.policy import Policy
from maporl_cli.agents.roles import BRIEF, GUIDE, role_book
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError
from maporl_cli.training.advantage import estimators
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank
from maporl_cli.worker.baselines import baseline_config
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.rules import open_rules
from maporl_cli.worker.session import (
    Session,
    cold_start_session,
    open_alone,
    open_learners,
    team_placement,
)

TEAM = ("planner", "researcher", "analyst", "reporter")
ONE = {"per_device_train_batch_size": 1}


@pytest.mark.parametrize(
    ("questions", "ranks", "replicas"), [(6, 4, 3), (8, 4, 4), (3, 4, 3), (5, 4, 1), (6, 8, 6), (12, 8, 6)]
)
def test_a_baseline_uses_as_many_ranks_as_share_the_questions_evenly(questions, ranks, replicas):
    config = Config.model_validate({"train": {"batch_size": questions, **ONE}})
    alone = team_placement(baseline_config(config, "reporter_alone"), place(TEAM, ranks))
    assert alone.replicas == replicas
    assert [len(rank.agents) for rank in alone.ranks] == [1] * replicas + [0] * (ranks - replicas)


@pytest.mark.parametrize("ranks", [1, 2, 4, 12])
def test_the_team_stays_where_the_job_has_it(ranks):
    job = place(TEAM, ranks)
    assert team_placement(Config.model_validate({"train": {"batch_size": 12, **ONE}}), job) == job


class Told(OneRank):
    """Rank 0 of two, which says things; what it says is kept."""

    def __init__(self) -> None:
        super().__init__(place(TEAM, 1))
        self.said: list[Any] = []

    def broadcast(self, value: Any, what: str) -> Any:
        self.said.append(value)
        return value


class Hears(OneRank):
    """Rank 1 of two, which hears what rank 0 said."""

    rank = 1

    def __init__(self, said: list[Any]) -> None:
        super().__init__(place(TEAM, 1))
        self.left = list(said)

    def broadcast(self, value: Any, what: str) -> Any:
        return self.left.pop(0)


@pytest.mark.parametrize(("timeout", "signs"), [(1e-9, 5), (600.0, 0)])
def test_who_waits_for_a_long_cold_start_is_given_signs_of_it(timeout, signs):
    config = Config.model_validate(
        {
            "team": {"roles": "clinic"},
            "placement": {"timeout": timeout},
            "train": {"cold_start": {"copy_steps": 3, "role_steps": 2, "batch_size": 1}},
        }
    )
    first, second = (open_alone(config, Narrator("none")) for _ in range(2))
    start_of_both = copied(second)
    told = Told()
    cold_start_session(replace(first, ranks=told), Narrator("none"))
    assert len(told.said) == signs + 2  # and that it is over, and the weights
    hears = Hears(told.said)
    cold_start_session(replace(second, ranks=hears), Narrator("none"))
    assert hears.left == []
    assert copied(first) == copied(second) != start_of_both


def copied(session: Session) -> dict[str, list[float]]:
    """All weights of the session's policies, in one list a policy."""
    return {
        name: parameters_to_vector(policy.trainable().values()).tolist()
        for name, policy in session.policies.items()
    }


def session(policy: Policy, **train: object) -> Session:
    """A team of one; nothing here plays."""
    config = Config.model_validate({"team": {"agents": [{"name": "reporter"}]}, "train": train})
    book = role_book("guide")
    return Session(config, book, {"reporter": policy}, None, None, alone("reporter"), None)  # type: ignore[arg-type]


def learning_rates(found: Session) -> list[float]:
    (mine,) = open_learners(found, estimators()[found.config.train.algorithm], steps=9)
    return mine.state()["schedule"]["base_lrs"]


def test_an_estimator_with_a_critic_gives_each_agent_a_value_head():
    rates = {"learning_rate": 0.5, "ppo": {"value_learning_rate": 0.25}}
    assert learning_rates(session(tiny_policy(), **rates)) == [0.5]
    assert learning_rates(session(tiny_policy(), algorithm="maporl_ppo", **rates)) == [0.5, 0.25]


def test_a_policy_that_shows_no_hidden_states_cannot_have_one():
    plain = load("policy_bigram.py").Bigram()
    assert learning_rates(session(plain)) == [1e-3]
    with pytest.raises(ConfigError) as told:
        learning_rates(session(plain, algorithm="maporl_ppo"))
    assert "'reporter'" in told.value.what
    assert "train.algorithm=maporl_ppo" in told.value.where
    assert "--set train.algorithm=rloo" in told.value.fix


def test_rules_that_do_not_fit_are_refused():
    reward = {"similarity_model": None}

    def rules(credit: str, sampling: str = "chain", book=BRIEF):
        config = {"reward": reward, "train": {"credit": credit}, "rollout": {"sampling": sampling}}
        return open_rules(Config.model_validate(config), book)

    assert rules("leave_one_out").credit.measurement is not None
    assert rules("potential", "comb").credit.measurement is not None
    with pytest.raises(ConfigError, match="do not combine"):
        rules("leave_one_out", "comb")
    with pytest.raises(ConfigError, match="does not say how an answer is written"):
        rules("potential", book=replace(GUIDE, write=None))
