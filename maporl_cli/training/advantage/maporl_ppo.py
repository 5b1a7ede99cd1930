"""MAPoRL's estimator (Park et al. 2025, arXiv 2502.18439): PPO's, with a value head an agent.

Generalized advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16) within a turn, whose tokens
are the steps: `δ_t = r_t + V_{t+1} − V_t`, `A_t = Σ_k λ^k δ_{t+k}`. What comes after the turn is in its
return already, so nothing is expected after its last token, and no token is discounted.
"""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.core.config import TrainConfig
from maporl_cli.training.advantage.estimator import Judged, Summed, Valued
from maporl_cli.training.advantage.reinforce_pp import normalized


def judge(turns: Sequence[Valued], train: TrainConfig, summed: Summed) -> list[Judged]:
    """Advantages with mean 0 and spread 1 over the tokens of all replicas, as PPO's implementations have them
    (Huang et al. 2022, "The 37 Implementation Details of PPO", 7), and `A + V` before that as targets."""
    ahead = [generalized(turn.rewards, turn.values, train.ppo.gae_lambda) for turn in turns]
    (compared,) = normalized([ahead], summed)
    return [
        Judged(advantages, [value + own for value, own in zip(turn.values, raw, strict=True)])
        for turn, raw, advantages in zip(turns, ahead, compared, strict=True)
    ]


def generalized(rewards: Sequence[float], values: Sequence[float], gae_lambda: float) -> list[float]:
    """One turn's generalized advantages.

    Args:
        rewards: what each token earned.
        values: what was expected before it.
        gae_lambda: 1 compares all that came with what was expected; 0 looks no further than the next value.
    """
    advantages: list[float] = []
    later, after = 0.0, 0.0
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        later = reward + after - value + gae_lambda * later
        after = value
        advantages.append(later)
    return advantages[::-1]
