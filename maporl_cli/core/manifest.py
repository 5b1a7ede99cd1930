"""What a run was made with: enough to make it again, and to tell why two runs differ."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from maporl_cli import __version__
from maporl_cli.core.atomic import atomic_write
from maporl_cli.core.config import Config
from maporl_cli.core.errors import DataError
from maporl_cli.core.run_dir import RunDir, read_object

_PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "langgraph", "numpy", "bm25s")


def manifest(
    config: Config, *, command: str, sources: Mapping[str, str], topology: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a run that begins.

    Args:
        config: the resolved config.
        command: the command line that started the run.
        sources: data file, benchmark or plug-in to the SHA-256 of its content.
        topology: ranks, replicas, devices, threads: whatever the worker found.
    """
    return {
        "versions": package_versions(),
        "git_commit": git_commit(Path(__file__)),
        "data": dict(sources),
        "allow_test_set": config.data.allow_test_set,
        "seed": config.run.seed,
        "command": command,
        "topology": {"platform": platform.platform(), **topology},
        "resumed": [],
    }


def write_manifest(
    run: RunDir, config: Config, *, command: str, sources: Mapping[str, str], topology: Mapping[str, Any]
) -> None:
    """Writes `manifest.json` of a run; arguments as for `manifest`."""
    told = manifest(config, command=command, sources=sources, topology=topology)
    atomic_write(run.manifest, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def note_sitting(run: RunDir, *, command: str, topology: Mapping[str, Any]) -> None:
    """Adds to the manifest of a run that goes on what may differ from its start."""
    told = read_object(run.manifest)
    sitting = {
        "command": command,
        "versions": package_versions(),
        "git_commit": git_commit(Path(__file__)),
        "topology": {"platform": platform.platform(), **topology},
    }
    told["resumed"] = [*told.get("resumed", []), sitting]
    atomic_write(run.manifest, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def refuse_changed_data(run: RunDir, sources: Mapping[str, str]) -> None:
    """Nothing, where the run's manifest names the same content of the same data as `sources`.

    Raises:
        DataError: a file, benchmark or plug-in is not what the run was started on.
    """
    before: Mapping[str, str] | None = read_object(run.manifest).get("data")
    if before is not None:  # else killed before it had a manifest: nothing was read yet
        refuse_other_data(before, sources)


def refuse_other_data(before: Mapping[str, str], sources: Mapping[str, str]) -> None:
    """Nothing, where both name the same content of the same data.

    Raises:
        DataError: a file, benchmark or plug-in is not what the run was started on.
    """
    for name in dict.fromkeys([*before, *sources]):
        if before.get(name) != sources.get(name):
            raise DataError(
                "The data of the run has changed since it was started.",
                where=name,
                why="its content has another SHA-256 than the run's manifest says",
                fix="put the data back, or start another run with another --name",
            )


def git_commit(file: Path) -> str | None:
    """The commit that `file` is of, `-dirty` appended if files beside it differ; None outside of git."""
    folder = file.parent
    try:
        _git(folder, "ls-files", "--error-unmatch", file.name)
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def package_versions() -> dict[str, str]:
    """The versions of Python, of maporl and of the packages that results depend on."""
    found = {"maporl": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
