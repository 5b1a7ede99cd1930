"""`maporl serve`: a finished run's team behind HTTP, answering questions until it is stopped."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from maporl_cli.cli.options import DisplayOption, Json
from maporl_cli.cli.output import emit, result, say, shown


def serve(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run, or a job's model.tar.gz unpacked.")
    ],
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0: on all networks.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0: a free one.")] = 8080,
    display: DisplayOption = None,
    json: Json = False,
) -> None:
    """Serve a team over HTTP: POST questions to /invocations, GET /ping."""
    display_now = shown(display, os.environ, terminal=sys.stderr.isatty())

    def tell(text: str) -> None:
        if display_now != "none":
            say(text)

    from maporl_cli.core.run_dir import RunDir

    home = RunDir.existing(run)

    from maporl_cli.serving.served_team import open_team
    from maporl_cli.serving.server import Service, address_of, bound, is_local, serve_until_stopped

    with bound(host, port) as listening:
        tell(f"loading {home.path}")
        local = is_local(listening)
        service = Service(open_team(home, display_now), tell, host if local else None)
        listening.listen()
        address = address_of(listening)
        if json:
            emit({"event": "serving", "run": str(home.path), "address": address})
        tell(f"serving {home.path} at {address}; Ctrl-C ends it")
        if not local:
            tell("caution: whoever reaches this address may ask, and nothing is encrypted")
        try:
            serve_until_stopped(service, listening)
        finally:
            figures = service.told()
            if json:
                emit({"event": "done", **figures})
            else:
                result(
                    f"answered {figures['answered']} requests ({figures['questions']} questions) in "
                    f"{figures['graph_runs']} plays of the team, refused {figures['refused']}, failed in "
                    f"{figures['failed']}; p50 {_seconds(figures['p50_seconds'])}, "
                    f"p95 {_seconds(figures['p95_seconds'])}"
                )


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
