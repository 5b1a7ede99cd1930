from collections.abc import Mapping
from pathlib import Path

import pytest

from maporl_cli.core.errors import MaporlError
from maporl_cli.core.types import Episode, Question
from maporl_cli.monitoring.episodes import EpisodeFiles
from maporl_cli.monitoring.jsonl import JsonlSink
from maporl_cli.monitoring.monitor import Monitor


class Good:
    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []
        self.closed = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen.append((step, dict(metrics)))

    def close(self) -> None:
        self.closed += 1


class Broken(Good):
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        super().log(step, metrics)
        raise ConnectionError("no network")


class BrokenAtTheEnd(Good):
    def close(self) -> None:
        raise OSError("cannot upload")


class Interrupting(Good):
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        raise KeyboardInterrupt


def test_every_sink_gets_every_step_and_is_closed_once() -> None:
    first, second = Good(), Good()
    monitor = Monitor([first, second])
    monitor.log(1, {"train:loss": 0.5})
    monitor.log(2, {"train:loss": 0.25})
    monitor.close()
    monitor.close()
    assert first.seen == second.seen == [(1, {"train:loss": 0.5}), (2, {"train:loss": 0.25})]
    assert first.closed == second.closed == 1


def test_a_broken_sink_is_told_of_once_and_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    broken, good = Broken(), Good()
    monitor = Monitor([broken, good])
    for step in range(3):
        monitor.log(step, {})
    monitor.close()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "Broken" in output.err
    assert "ConnectionError: no network" in output.err
    assert len(broken.seen) == 1
    assert broken.closed == 0
    assert len(good.seen) == 3


def test_a_sink_that_cannot_close_does_not_keep_others_open(capsys: pytest.CaptureFixture[str]) -> None:
    good = Good()
    Monitor([BrokenAtTheEnd(), good]).close()
    assert good.closed == 1
    assert "BrokenAtTheEnd" in capsys.readouterr().err


def test_ctrl_c_in_a_sink_still_stops() -> None:
    with pytest.raises(KeyboardInterrupt):
        Monitor([Interrupting()]).log(1, {})


def test_episodes_that_cannot_be_kept_are_not_swallowed(tmp_path: Path) -> None:
    (tmp_path / "episodes").write_text("a file in the way")
    monitor = Monitor([], episodes=EpisodeFiles(tmp_path / "episodes"))
    episode = Episode(Question(id="q", text="?", options={}, answer="x"), 0, 1)
    with pytest.raises(Exception, match="episodes"):
        monitor.episodes(1, [episode])


def test_metrics_that_cannot_be_kept_are_not_swallowed(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file in the way")
    monitor = Monitor([], metrics=JsonlSink(tmp_path / "run" / "metrics.jsonl"))
    with pytest.raises(MaporlError, match="Fix:"):
        monitor.log(1, {"train:loss": 0.5})
