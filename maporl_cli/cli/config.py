"""`maporl config`: what a command would run with, and why."""

from __future__ import annotations

import typer

from maporl_cli.cli.options import ConfigFile, Json, Preset, Sets, resolve
from maporl_cli.cli.output import emit, result

app = typer.Typer(no_args_is_help=True, help="Show settings and where each came from.")


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Show settings and where each came from."""


@app.command()
def show(preset: Preset = None, config: ConfigFile = None, sets: Sets = None, json: Json = False) -> None:
    """Print every setting with where it came from; the output is itself a file for --config."""
    from maporl_cli.core.config_yaml import to_yaml

    loaded = resolve(preset, config, sets)
    if json:
        emit({"config": loaded.config.model_dump(mode="json"), "origin": dict(loaded.origin)})
    else:
        result(to_yaml(loaded.config, loaded.origin).rstrip())
