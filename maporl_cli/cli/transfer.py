"""The bar that shows how much of a file is on the other side."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def transfer(total: int | None) -> Generator[Callable[[int], None]]:
    """A bar on stderr that is told how many more bytes are there; none where nobody watches.

    Args:
        total: bytes in all; None where nobody knows yet.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("transfer", total=total)
        yield lambda more: bar.advance(task, more)
