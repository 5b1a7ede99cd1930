"""Loading the Python files that `run.plugins` names, each of which registers something."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from maporl_cli.core.errors import ConfigError


def plugin_hashes(paths: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of each file, by its path as given."""
    return {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in paths}


def load_plugins(paths: Sequence[str]) -> None:
    """Import each file once; it registers its agents, policies, benchmarks or reward components.

    Raises:
        ConfigError: a file is missing, or raises while it is imported.
    """
    for name in paths:
        path = Path(name)
        module = f"maporl_plugin_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
        if module in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(module, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise ConfigError(
                "A plug-in is not there or is no Python file.",
                where=f"run.plugins: {path}",
                fix="correct the path; it is relative to the directory the command runs in",
            )
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = loaded
        try:
            spec.loader.exec_module(loaded)
        except Exception as error:
            del sys.modules[module]
            raise ConfigError(
                "A plug-in raised an error while it was imported.",
                where=f"run.plugins: {path}",
                why=f"{type(error).__name__}: {error}",
                fix="run it alone with `python` to see the traceback, and correct it",
            ) from error
