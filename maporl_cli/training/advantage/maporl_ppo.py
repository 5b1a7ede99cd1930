"""MAPoRL's estimator (Park et al. 2025, arXiv 2502.18439): PPO's, with a value head an agent.

Generalized advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16) within a turn, whose tokens
are the steps: `δ_t = r_t + V_{t+1} − V_t`, `A_t = Σ_k λ^k δ_{t+k}`. What comes after the turn is in its
return already, so nothing is expected after its last token, and no token is discounted.

Advantages keep the reward's units, in which `train.kl_coeff` and `train.entropy_coeff` are prices. The
paper's code, as most of PPO's, divides them by their spread, which makes these several times cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.core.config import TrainConfig
from maporl_cli.training.advantage.estimator import Judged, Valued


def judge(turn: Valued, train: TrainConfig) -> Judged:
    """A turn's generalized advantages, and with them what its value head should have expected: `A + V`."""
    advantages = generalized(turn.rewards, turn.values, train.ppo.gae_lambda)
    targets = [value + advantage for value, advantage in zip(turn.values, advantages, strict=True)]
    return Judged(advantages, targets)


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
