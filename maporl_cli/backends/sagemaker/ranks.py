"""How many ranks an instance has: asked where a job is planned, and again in its container."""

from __future__ import annotations

from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError
from maporl_cli.training.placement import Placement, fits, place


def ranks_of(config: Config, gpus: int, instances: int) -> int:
    """One a GPU, or as many of them as the team can be placed on; one where there is none.

    Raises:
        ConfigError: no number of ranks an instance fits so many instances.
    """
    agents = len(config.team.agents)
    for count in range(max(1, gpus), 0, -1):
        if fits(agents, count * instances):
            return count
    raise ConfigError(
        f"{agents} agents cannot be placed evenly on {instances} instances.",
        where="sagemaker.instances",
        why=f"each has {gpus} GPUs, and every rank holds equally many agents",
        fix="--instances 1",
    )


def placed(config: Config, gpus: int) -> Placement:
    """Which rank of the job has which agents.

    Raises:
        ConfigError: as `ranks_of`.
    """
    instances = config.sagemaker.instances
    return place(config.team.names, ranks_of(config, gpus, instances) * instances, instances)
