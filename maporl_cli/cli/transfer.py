"""A bar on stderr for what goes to S3 or comes from it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def transfer(name: str, total: int | None = None) -> Generator[Callable[[int], None]]:
    """Told how many more bytes are there; nothing is shown where nobody watches.

    Args:
        total: bytes in all; None where nobody knows.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        yield lambda more: bar.advance(task, more)
