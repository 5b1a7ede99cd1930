"""What would end a job at once, with the errors that training here gives, before it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maporl_cli.agents.blueprint import blueprints
from maporl_cli.agents.build import model_of
from maporl_cli.agents.models import can_be_pulled
from maporl_cli.agents.policy import plugin_policy
from maporl_cli.agents.roles import role_book
from maporl_cli.backends.sagemaker.inputs import Inputs
from maporl_cli.backends.sagemaker.instances import Machine, device_of
from maporl_cli.backends.sagemaker.ranks import placed
from maporl_cli.core.batch_arithmetic import accumulation_steps
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.data.splits import load_split
from maporl_cli.worker.memory_plan import fix_of, memory_part, placement_part
from maporl_cli.worker.plugins import plugin_hashes
from maporl_cli.worker.rules import refuse_rules


def refuse_without_key(config: Config) -> None:
    """Nothing, where W&B has the key that it needs online, which must not stand in the request.

    Raises:
        ConfigError: it has none.
    """
    if config.monitoring.wandb_mode == "online" and "WANDB_API_KEY" not in config.sagemaker.secrets:
        raise ConfigError(
            "The job would have no key for Weights & Biases.",
            where="monitoring.wandb_mode=online",
            why="keys are never sent with a job, where everybody who may see it could read them",
            fix="keep the key in AWS Secrets Manager: --set sagemaker.secrets.WANDB_API_KEY=NAME-OF-SECRET; "
            "or --set monitoring.wandb_mode=offline, and wandb sync what comes home",
        )


def sources_here(config: Config, inputs: Inputs, *, all_data: bool) -> dict[str, str]:
    """The SHA-256 of what the job reads, by its name here, as far as it is here; loaded as training does.

    Args:
        all_data: a benchmark's questions, too, which takes seconds, and of which nothing has to be refused.

    Raises:
        DataError, ConfigError: the questions cannot be trained on.
    """
    found = plugin_hashes(config.run.plugins)
    if not inputs.elsewhere and (all_data or inputs.data):
        found |= load_split(config).sources
    return found


def refuse_unfit(config: Config, machine: Machine) -> Mapping[str, Any]:
    """What each rank needs, where the team can train on such instances.

    Raises:
        ConfigError: it cannot, or needs more memory than there is.
        MissingError: there is no such model, or no GPU where one is needed.
    """
    name = config.sagemaker.instance
    if config.model.dtype == "fp16" and not machine.gpus:
        raise MissingError(
            "Half precision (fp16) needs a GPU.",
            where="model.dtype",
            why=f"{name} has none",
            fix="--set model.dtype=fp32, or an --instance with GPUs, such as ml.g5.12xlarge",
        )
    placement = placed(config, machine.gpus)
    accumulation_steps(config, placement.replicas)
    refuse_rules(config, role_book(config.team.roles))
    device = device_of(machine, name)
    memory = memory_part(config, placement, device)
    if "unknown" in memory:
        _refuse_no_model(config)
    if device is not None and memory.get("advice"):
        raise ConfigError(
            f"The team does not fit on {name}.",
            where="sagemaker.instance",
            why=f"a rank needs up to {max(rank['peak'] for rank in memory['ranks']) / 1e9:.1f} GB, and the "
            f"{device.name} has {device.bytes / 1e9:.1f} GB",
            fix=fix_of(memory, placement_part(placement)),
        )
    return memory


def _refuse_no_model(config: Config) -> None:
    """Nothing, where the job can pull the models that are not here, or its plug-ins build them.

    Raises:
        ConfigError, MissingError: one cannot be, or does not go with the rest.
    """
    unheard_of = [
        seat
        for seat in config.team.agents
        if not can_be_pulled(model_of(seat, config)) and plugin_policy(model_of(seat, config)) is None
    ]
    if unheard_of:
        team = config.team.model_copy(update={"agents": tuple(unheard_of)})
        blueprints(config.model_copy(update={"team": team}))
