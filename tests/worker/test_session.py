"""How a session places its team on the ranks of a job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maporl_cli.agents.roles import BRIEF, GUIDE
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError
from maporl_cli.training.placement import place
from maporl_cli.worker.baselines import baseline_config
from maporl_cli.worker.session import open_rules, team_placement

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
