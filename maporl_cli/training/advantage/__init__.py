"""Advantage: how a turn's return compares with others. One file an estimator."""

from maporl_cli.training.advantage import grpo, maporl_ppo, reinforce_pp, rloo
from maporl_cli.training.advantage.estimator import (
    AnyEstimator,
    CriticEstimator,
    Estimator,
    Judged,
    Valued,
    estimators,
    register_estimator,
    within_groups,
)

__all__ = [
    "AnyEstimator",
    "CriticEstimator",
    "Estimator",
    "Judged",
    "Valued",
    "estimators",
    "register_estimator",
    "within_groups",
]

register_estimator("rloo", within_groups(rloo.leave_one_out))
register_estimator("grpo", within_groups(grpo.group_relative))
register_estimator("dr_grpo", within_groups(grpo.centered))
register_estimator("reinforce_pp", Estimator(reinforce_pp.normalized, across_groups=True))
register_estimator("reinforce_pp_baseline", Estimator(reinforce_pp.normalized_over_groups))
register_estimator("maporl_ppo", CriticEstimator(maporl_ppo.judge))
