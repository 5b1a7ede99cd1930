"""`maporl model`: bringing pretrained models to this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from maporl_cli.cli.options import Json
from maporl_cli.cli.output import emit, result, say

app = typer.Typer(no_args_is_help=True, help="Bring pretrained models to this machine.")


@app.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """Bring pretrained models to this machine."""


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(help="A known model (smollm2-135m), or a hub id (Qwen/Qwen2.5-0.5B-Instruct)."),
    ],
    json: Json = False,
) -> None:
    """Download a model once, check it, and print its directory."""
    from maporl_cli.agents.pull import pull as pull_model

    path = pull_model(name, on_progress=say, thorough=True)
    if json:
        emit({"name": name, "path": str(path)})
    else:
        result(str(path))
