"""`maporl model pull`: the path on stdout, everything else on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from maporl_cli.agents import pull as pulling
from maporl_cli.cli.model import app


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    calls: list[tuple[str, bool]] = []

    def pull(name: str, *, on_progress: Any, thorough: bool) -> Path:
        calls.append((name, thorough))
        on_progress("downloading")
        return Path("/models/it")

    monkeypatch.setattr(pulling, "pull", pull)
    return calls


def test_the_directory_is_all_of_stdout(asked: list[tuple[str, bool]]):
    done = CliRunner().invoke(app, ["pull", "smollm2-135m"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "/models/it\n", "downloading\n")
    assert asked == [("smollm2-135m", True)]


def test_json_is_all_of_stdout(asked: list[tuple[str, bool]]):
    done = CliRunner().invoke(app, ["pull", "smollm2-135m", "--json"])
    assert json.loads(done.stdout) == {"name": "smollm2-135m", "path": "/models/it"}
    assert done.stderr == "downloading\n"


def test_a_name_is_needed():
    assert CliRunner().invoke(app, ["pull"]).exit_code == 2


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'huggingface_hub', 'safetensors'}"
    code = f"import sys, maporl_cli.cli.model; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
