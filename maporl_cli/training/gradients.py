"""One gradient out of those that the replicas of a model have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from maporl_cli.training.ranks import Ranks


def sum_gradients(parameters: Sequence[nn.Parameter], agent: str, ranks: Ranks) -> None:
    """Replace each gradient by its sum over the ranks that hold `agent`; all of them have to call.

    A parameter that no replica used stays without one: with a gradient of zero, it would decay.
    """
    if ranks.placement.replicas == 1:
        return
    having = torch.tensor(
        [parameter.grad is not None for parameter in parameters],
        dtype=torch.float64,
        device=parameters[0].device,
    )
    ranks.sum_over_replicas(agent, having)
    for parameter, replicas in zip(parameters, having, strict=True):
        if bool(replicas) and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients: list[Tensor] = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = parameters_to_vector(gradients)
    ranks.sum_over_replicas(agent, flat)
    vector_to_parameters(flat, gradients)
