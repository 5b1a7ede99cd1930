"""A team from what its training ended with, `final_model/<agent>/`: as it is deployed, with no checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from maporl_cli.agents.build import build_policies, build_team, cold_starts_of, model_of
from maporl_cli.agents.model_files import check_model
from maporl_cli.agents.policy import Policy, plugin_policy
from maporl_cli.agents.roles import role_book
from maporl_cli.agents.stage import Floor
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.timeline import Timeline
from maporl_cli.training.checkpoint import copy_weights
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.plugins import load_plugins
from maporl_cli.worker.session import Session

_ADAPTER = "adapter_model.safetensors"


def open_final_model(home: RunDir, narrator: Narrator) -> Session:
    """The team of a finished run, or of a folder that is laid out like one: a job's unpacked `model.tar.gz`.

    Its agents go round the GPUs that torch sees, and play one after the other in this process.

    Raises:
        ConfigError: an agent's policy comes from a plug-in, which alone knows how to load it.
        MissingError: the run has no final model, or a file of it is missing or damaged.
    """
    config = servable(home)
    by_device: dict[torch.device, list[str]] = {}
    for name, device in zip(config.team.names, devices(len(config.team.names)), strict=True):
        by_device.setdefault(device, []).append(name)
    policies: dict[str, Policy] = {}
    for device, names in by_device.items():
        policies |= _load(home, config, device, names, narrator)
    ranks = OneRank(place(config.team.names, 1))
    team = build_team(config, policies, ranks.stage(Floor(Timeline(), narrator.stopping), narrator.stopping))
    book = role_book(config.team.roles)
    return Session(config, book, policies, team, cold_starts_of(config), ranks, None)


def servable(home: RunDir) -> Config:
    """The config of a run whose final model can be loaded, with the plug-ins and evidence as they lie here.

    Raises:
        ConfigError: an agent's policy comes from a plug-in, which alone knows how to load it.
        MissingError: the run has no final model, or a file of it is missing or damaged.
    """
    config = _with_files_in(home.files, home.load_config())
    load_plugins(config.run.plugins)
    refuse_plugin_policies(config)
    refuse_unfinished(home, config)
    return config


def devices(agents: int) -> list[torch.device]:
    """Where each of so many agents goes: round the GPUs in turn, or to the CPU where there is none."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.device("cuda", place % gpus) if gpus else torch.device("cpu") for place in range(agents)]


def refuse_unfinished(home: RunDir, config: Config) -> None:
    """Refuses a run whose final model is not whole.

    Raises:
        MissingError: names what is missing or damaged, and how to get it.
    """
    again = f"maporl train --resume --name {home.path.name} --output-dir {home.path.parent}"
    lacking = [name for name in config.team.names if not (home.final_model / name).is_dir()]
    if lacking:
        raise MissingError(
            "The run has no final model.",
            where=str(home.final_model),
            why=f"there is nothing of {', '.join(lacking)}; a run writes it when its training has ended",
            fix=f"finish it: {again}",
        )
    fix = f"remove {home.final_model}, and have it written again: {again}"
    for name in config.team.names:
        folder = home.final_model / name
        if config.model.finetune == "lora":
            _adapter(folder, fix)
        else:
            check_model(folder, fix=fix)


def _load(
    home: RunDir, config: Config, device: torch.device, names: Collection[str], narrator: Narrator
) -> dict[str, Policy]:
    """The policies of the agents of one device; those with adapters share their base."""
    if config.model.finetune == "lora":
        policies = build_policies(config, None, device, narrator.say, names)
        for name, policy in policies.items():
            copy_weights(_adapter(home.final_model / name, "fetch or train the run again"), policy)
        return policies
    return build_policies(of_folders(home, config), None, device, narrator.say, names)


def of_folders(home: RunDir, config: Config) -> Config:
    """`config` with each agent's model as it was saved whole, in its folder of the final model."""
    seats = [
        seat.model_copy(update={"model": str((home.final_model / seat.name).resolve())})
        for seat in config.team.agents
    ]
    team = config.team.model_copy(update={"agents": tuple(seats)})
    return config.model_copy(update={"team": team})


def _adapter(folder: Path, fix: str) -> dict[str, Tensor]:
    """The weights of a LoRA adapter, by the names that its policy gives them."""
    try:
        return load_file(folder / _ADAPTER)
    except (OSError, SafetensorError) as error:
        raise MissingError(
            "A file of the model is missing or damaged.",
            where=str(folder / _ADAPTER),
            why=str(error),
            fix=fix,
        ) from error


def refuse_plugin_policies(config: Config) -> None:
    """Refuses a team with a policy of a plug-in; the plug-ins have to be loaded.

    Raises:
        ConfigError: names the agent.
    """
    for seat in config.team.agents:
        if plugin_policy(name := model_of(seat, config)) is not None:
            raise ConfigError(
                f"The final model of the agent {seat.name!r} cannot be loaded.",
                where=f"model {name}",
                why="it comes from a plug-in, which alone knows how to read what it saved",
                fix="maporl ask --run asks the team as its last checkpoint has it",
            )


def _with_files_in(folder: Path, config: Config) -> Config:
    """`config` with the files that it names as they lie in a deployed model; elsewhere as it is."""

    def here(name: str) -> str:
        beside = folder / Path(name).name
        return str(beside) if beside.is_file() else name

    plugins: Sequence[str] = tuple(map(here, config.run.plugins))
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"plugins": plugins}),
            "team": config.team.model_copy(update={"evidence": here(config.team.evidence)}),
        }
    )
