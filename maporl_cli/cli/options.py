"""The options that several commands share, and the config they add up to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.output import Display

if TYPE_CHECKING:
    from maporl_cli.core.config import Config
    from maporl_cli.core.config_sources import Loaded

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="NAME", help="Start from a preset: clinic, smollm2, medxpert (default: clinic)."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", readable=False, help="A YAML file of settings; no preset lies below it."
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one key, as in train.max_steps=10. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON, and nothing else, on stdout.")]
DisplayOption = Annotated[
    Display | None, typer.Option("--display", help="How progress is shown on stderr.", show_default=False)
]
Nproc = Annotated[
    int | None,
    typer.Option(
        "--nproc", min=1, help="Ranks on this machine (default: the number of GPUs, or 1).", metavar="N"
    ),
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="R", help="The AWS region (default: that of the AWS configuration)."),
]


def default_nproc(config: Config) -> int:
    """As many ranks as there are GPUs, or as many of them as the team can be placed on."""
    import torch

    from maporl_cli.training.placement import fits

    agents = len(config.team.agents)
    return max(count for count in range(1, max(1, torch.cuda.device_count()) + 1) if fits(agents, count))


def resolve(
    preset: str | None,
    file: Path | None,
    sets: Sequence[str] | None,
    flags: Mapping[str, Any] | None = None,
    *,
    default_preset: str = "clinic",
) -> Loaded:
    """The config of a command, from its options and the environment.

    With neither a preset nor a file, `default_preset` is the start. Below a file lies no preset
    unless one is named: a file that `config show` printed must mean the same wherever it is used.

    Raises:
        ConfigError, UsageError: as `load_config`.
    """
    # Imported here: the help needs no config.
    from maporl_cli.core.config_sources import load_config

    if preset is None and file is None:
        preset = default_preset
    return load_config(preset=preset, file=file, environ=os.environ, sets=sets or (), flags=flags or {})
