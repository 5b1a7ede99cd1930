"""The data of training jobs: which addresses in S3 their channels are read from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.channel import Channel
from maporl_cli.core.errors import ConfigError, DataError, RunFailed
from maporl_cli.core.run_dir import read_object

NOTED = Path(".maporl") / "channels.json"
"""Where an upload notes its addresses, and a launch finds them."""


def files_of(path: Path) -> list[Path]:
    """The files to send: the file itself, or those of a folder.

    Raises:
        DataError: there is nothing to send.
    """
    if path.is_file():
        return [path]
    found = sorted(one for one in path.glob("*.json*") if one.is_file()) if path.is_dir() else []
    if not found:
        raise DataError(
            "There is nothing to upload.",
            where=str(path),
            why="it is a folder without .json or .jsonl files" if path.is_dir() else "no such file or folder",
            fix="name a file of questions, or a folder of such files",
        )
    return found


def note_channel(channel: Channel, uri: str) -> None:
    """Note where a channel's data is, for the jobs that are launched from here."""
    atomic_write(NOTED, json.dumps({**noted_channels(), channel.value: uri}, indent=1) + "\n")


def noted_channels() -> Mapping[str, str]:
    """The channels that were uploaded from here.

    Raises:
        ConfigError: the note is damaged.
    """
    try:
        found = read_object(NOTED)
    except RunFailed as error:
        raise ConfigError(
            "The note of what was uploaded is damaged.",
            where=str(NOTED),
            why=error.why,
            fix=f"remove {NOTED}, and upload again; what is there already is not sent twice",
        ) from error
    return {channel.value: str(found[channel]) for channel in Channel if channel in found}
