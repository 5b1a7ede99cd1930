"""Lines of a log, each rank's in a colour of its own where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")


def line_printer(*, stderr: bool = False) -> Callable[[int | None, str], None]:
    """What prints a line, given the rank that wrote it; None: nobody's.

    Args:
        stderr: where a log is progress; else on stdout, as what was asked for.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True, stderr=stderr)
    if not console.is_terminal:
        return lambda rank, line: print(line, file=sys.stderr if stderr else sys.stdout, flush=True)

    def show(rank: int | None, line: str) -> None:
        # As `Text`, or what looks like Rich's markup would be taken for it.
        console.print(Text(line, style="" if rank is None else _COLOURS[rank % len(_COLOURS)]))

    return show
