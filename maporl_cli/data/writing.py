"""Questions written to files: a row a line in the project's own shape, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from maporl_cli.core.atomic import disk_errors
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Question
from maporl_cli.data.formats import to_row


@contextmanager
def writing_questions(path: Path) -> Generator[Callable[[Question], None]]:
    """A function that appends a question; the file appears at `path` once the block is complete.

    Raises:
        MaporlError: as `disk_errors`; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:

                def write(question: Question) -> None:
                    file.write(json.dumps(to_row(question), ensure_ascii=False) + "\n")

                yield write
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_questions(path: Path, questions: Iterable[Question]) -> int:
    """Writes a whole file; returns how many questions it holds.

    Raises:
        MaporlError: as `disk_errors`.
    """
    count = 0
    with writing_questions(path) as write:
        for question in questions:
            write(question)
            count += 1
    return count


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raises ConfigError where a file to be written is there already, unless `overwrite`."""
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise ConfigError(
            f"{there[0]} exists already.",
            why="a file of questions is never overwritten silently",
            fix="give another directory with --out DIR, or add --overwrite",
        )
