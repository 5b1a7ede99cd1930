"""A rank that is asked to stop before its training looks after that itself."""

from __future__ import annotations

import json
import os
import signal

import pytest
from support import alone

from maporl_cli.core.config import Config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.run_dir import RunDir
from maporl_cli.training.stop import STOPS
from maporl_cli.worker import __main__ as worker


@pytest.fixture(autouse=True)
def handlers():
    kept = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOPS)
def test_it_ends_with_130_and_says_so_to_the_command(tmp_path, monkeypatch, number):
    """Were it to die of the signal, torchrun would start the ranks again."""
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(Config()))
    monkeypatch.setattr(worker, "open_store", lambda: os.kill(os.getpid(), number))
    assert worker.main(["--config", str(config), "--outcome", str(tmp_path)]) == 130
    told = json.loads((tmp_path / "rank_0.json").read_text())
    assert (told["code"], told["restarts"]) == (130, 0)
    # A second one, as torchrun sends when it ends the others, must not keep it from being told.
    os.kill(os.getpid(), number)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert worker.main(["--config", str(config), "--outcome", str(tmp_path)]) == 130, "not tried again"


def test_ranks_killed_before_their_run_had_a_manifest_go_on_with_it(tmp_path, monkeypatch):
    config = Config.model_validate({"run": {"name": "run", "output_dir": tmp_path}})
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not worker._restarted(config, alone(*config.team.names))
    run = RunDir.open_new(config)
    assert worker._restarted(config, alone(*config.team.names))
    run.manifest.write_text("{}")  # of another start
    assert not worker._restarted(config, alone(*config.team.names))


def test_a_second_ctrl_c_ends_with_130_and_no_traceback(tmp_path, monkeypatch, capsys):
    def struck(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(Config()))
    monkeypatch.setattr(worker, "train", struck)
    assert worker.main(["--config", str(config)]) == 130
    told = capsys.readouterr().err
    assert told.startswith("Stopped at once.")
    assert "--resume" in told
