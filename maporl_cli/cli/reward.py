"""`maporl reward`: what finished transcripts earn, component by component."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maporl_cli.cli.options import ConfigFile, Json, Preset, Sets
from maporl_cli.cli.output import emit, say

if TYPE_CHECKING:
    from maporl_cli.core.types import Episode

_BATCH = 256
"""Transcripts that are scored together, and their texts embedded."""


def reward(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", readable=False, help="Transcripts, one a line.")
    ],
    preset: Preset = None,
    config: ConfigFile = None,
    sets: Sets = None,
    json: Json = False,
) -> None:
    """Score finished transcripts with the medical reward, and say why a component is zero."""
    # Imported here: the help needs none of it.
    from maporl_cli.agents.roles import role_book
    from maporl_cli.core.config_sources import load_config
    from maporl_cli.core.errors import DataError
    from maporl_cli.rewards.medical import Reward

    settings = load_config(preset=preset, file=config, sets=sets or ()).config.reward
    judge = Reward(settings, role_book("guide"))
    bad: list[str] = []
    for path in files:
        rows = _episodes(path, bad)
        while episodes := list(islice(rows, _BATCH)):
            judge.score([[episode] for episode in episodes])
            for episode in episodes:
                if json:
                    emit(told(episode))
                else:
                    _show(episode)
    if bad:
        for line in bad:
            say(line)
        raise DataError(
            "1 row is no transcript." if len(bad) == 1 else f"{len(bad)} rows are no transcripts.",
            where=", ".join(map(str, files)),
            why="the others are scored",
            fix='write rows as {"question": …, "options": {…}, "answer": …, "turns": [{"agent": …, '
            '"round": 0, "text": …}]}, as docs/reward.md shows',
        )


def _episodes(path: Path, bad: list[str]) -> Iterator[Episode]:
    """The episodes of a file; what is none is added to `bad`, with its line."""
    import json

    from maporl_cli.core.errors import DataError
    from maporl_cli.rewards.transcripts import RowError, read_transcript

    try:
        with path.open(encoding="utf-8", errors="strict") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield read_transcript(json.loads(line), f"{path.stem}-{number}")
                except RowError as error:
                    bad.append(f"{path}, line {number}: {error}")
                except (ValueError, RecursionError) as error:
                    bad.append(f"{path}, line {number}: it is no JSON: {str(error)[:200]}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "A file of transcripts cannot be read.",
            where=str(path),
            why=str(error),
            fix="name a file of UTF-8 text with a JSON object a line",
        ) from error


def told(episode: Episode) -> dict[str, Any]:
    """A scored transcript as JSON."""
    score = episode.score
    assert score is not None, "it was scored"
    return {
        "id": episode.question.id,
        "total": score.total,
        "medical": score.task,
        "answer": episode.answer,
        "components": dict(score.components),
        "reasons": dict(score.reasons),
    }


def _show(episode: Episode) -> None:
    from rich import box
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    row = told(episode)
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{row['id']}: total {row['total']:.3f}, medical {row['medical']:.3f}",
        title_justify="left",
    )
    table.add_column("component", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("why")
    reasons = row["reasons"]
    for name, value in row["components"].items():
        bar = ProgressBar(total=1.0, completed=value, width=20)
        table.add_row(name, bar, f"{value:.2f}", reasons.get(name, ""))
    if "veto" in reasons:
        table.add_row("veto", "", "", reasons["veto"])
    Console().print(table)
