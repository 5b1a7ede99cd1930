from __future__ import annotations

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from maporl_cli import __version__
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.manifest import git_commit, write_manifest
from maporl_cli.core.run_dir import RunDir


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_it_tells_what_the_run_was_made_with(tmp_path):
    config = load_config(sets=["run.seed=7", "data.allow_test_set=true"]).config
    run = RunDir(tmp_path)
    write_manifest(run, config, command="maporl train", sources={"a.jsonl": "00ff"}, topology={"ranks": 1})
    told = json.loads(run.manifest.read_text())
    assert told["versions"]["maporl"] == __version__
    assert told["versions"]["torch"] == version("torch")
    assert (told["seed"], told["command"], told["data"]) == (7, "maporl train", {"a.jsonl": "00ff"})
    assert told["allow_test_set"] is True
    assert told["topology"]["ranks"] == 1


class TestGitCommit:
    @pytest.fixture
    def module(self, tmp_path: Path) -> Path:
        path = tmp_path / "package" / "module.py"
        path.parent.mkdir()
        path.write_text("x = 1")
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", "one")
        return path

    def test_a_clean_checkout(self, module):
        assert git_commit(module) == git(module.parent, "rev-parse", "HEAD")

    def test_a_changed_file_is_told(self, module):
        module.write_text("x = 2")
        assert git_commit(module) == git(module.parent, "rev-parse", "HEAD") + "-dirty"

    def test_a_package_installed_inside_of_another_checkout_has_none(self, module):
        installed = module.parent / "installed.py"
        installed.write_text("")
        assert git_commit(installed) is None

    def test_outside_of_git(self, tmp_path):
        (tmp_path / "module.py").write_text("")
        assert git_commit(tmp_path / "module.py") is None
