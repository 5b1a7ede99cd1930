"""How a session places its team on the ranks of a job, and starts it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch.nn.utils import parameters_to_vector

from maporl_cli.core.config import Config
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank
from maporl_cli.worker.baselines import baseline_config
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.session import Session, cold_start_session, open_alone, team_placement

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
