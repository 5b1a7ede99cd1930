"""The files in `examples/`, loaded as a run loads them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from maporl_cli.worker.plugins import load_plugins

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PLUGINS = [path for path in EXAMPLES if not path.stem.startswith("launch_")]


def load(name: str) -> ModuleType:
    path = ROOT / "examples" / name
    load_plugins([str(path)])
    return next(module for module in sys.modules.values() if getattr(module, "__file__", None) == str(path))
