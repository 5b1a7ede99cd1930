"""The one policy loss: a clipped ratio, normalised by the number of active tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossTerms:
    """Sums over the active tokens of a microbatch; all but the loss are divided by the global count outside.

    Attributes:
        loss: scalar with gradient; what is minimised, already divided by the global count.
        kl: summed k3 estimate of KL(policy ‖ reference), nats; zero without a reference.
        entropy: summed entropy, nats.
        clipped: number of tokens whose ratio left the clip range.
    """

    loss: Tensor
    kl: Tensor
    entropy: Tensor
    clipped: Tensor


def policy_loss(
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    active: Tensor,
    active_total: int,
    *,
    clip: tuple[float, float],
    entropy: Tensor,
    entropy_coeff: float,
    reference: Tensor | None = None,
    kl_coeff: float = 0.0,
) -> LossTerms:
    """PPO's clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, eq. 7), averaged over tokens.

    Args:
        new, old: (rows, length) log-probabilities now and when sampled, nats.
        advantages: (rows, length), one a token.
        active: (rows, length) bool; tokens outside count nowhere, neither above nor below.
        clip: how far the ratio may fall below 1 and rise above it; beyond, a token stops pushing. A higher
            upper end lets rare tokens grow (DAPO's "clip-higher", Yu et al. 2025, arXiv 2503.14476, §3.1).
        active_total: active tokens of the agent's whole update, over all microbatches and ranks.
        entropy: (rows, length), of the policy's distribution.
        reference: (rows, length) log-probabilities under the frozen start; with `kl_coeff` it adds
            `ratio·(e^d − d − 1)`, `d = reference − new`: k3 (Schulman 2020, "Approximating KL
            divergence") weighted by the ratio, which makes its gradient that of the KL.
    """
    zeros = torch.zeros_like(new)
    # A masked place may hold anything, so it is zeroed before exp, not after: 0 × inf is NaN.
    ratio = torch.where(active, new - old, zeros).exp()
    limited = ratio.clamp(1 - clip[0], 1 + clip[1])
    surrogate = torch.minimum(ratio * advantages, limited * advantages)
    per_token = -surrogate - entropy_coeff * entropy
    kl = zeros
    if reference is not None:
        gap = torch.where(active, reference - new, zeros)
        kl = ratio * (gap.exp() - gap - 1)
        per_token = per_token + kl_coeff * kl
    mask = active.to(new.dtype)
    return LossTerms(
        loss=torch.where(active, per_token, zeros).sum() / active_total,
        kl=(kl * mask).sum().detach(),
        entropy=torch.where(active, entropy, zeros).sum().detach(),
        clipped=((ratio != limited) & active).sum(),
    )
