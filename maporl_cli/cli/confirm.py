"""A question before something that costs money or cannot be undone."""

from __future__ import annotations

import sys

from maporl_cli.core.errors import Interrupted, UsageError


def confirm(question: str, *, command: str, otherwise: Interrupted) -> None:
    """Nothing, where somebody says yes.

    Args:
        command: what goes on without asking.
        otherwise: what a no comes to.

    Raises:
        UsageError: nobody is there to be asked.
        Interrupted: they say no.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to be asked.", fix=command)
    # Not `typer.confirm`, whose answer to Ctrl-C is an exception of its own.
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise otherwise
