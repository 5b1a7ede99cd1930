import io

import pytest
from rich.console import Console

from maporl_cli.monitoring import console
from maporl_cli.monitoring.console import ConsoleSink, duration

STEP = {
    "train:accuracy": 0.5,
    "train:reward": 0.625,
    "train:loss": -0.0123,
    "train:tokens": 3000.0,
    "train:seconds": 2.0,
    "planner:loss": 1.0,
}


def test_plain_is_a_line_a_step_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ConsoleSink("plain", 40)
    sink.log(10, STEP)
    sink.close()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "step 10/40  accuracy 0.500  reward 0.625  loss -0.0123  1,500 tokens/s  ETA 1m 00s\n"
    )


def test_the_time_to_go_is_the_mean_of_this_sitting(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ConsoleSink("plain", 10)
    sink.log(8, {"train:seconds": 2.0})
    sink.log(9, {"train:seconds": 6.0})
    assert [line.split("ETA ")[1] for line in capsys.readouterr().err.splitlines()] == ["4s", "4s"]


def test_only_what_was_measured_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ConsoleSink("plain", 4)
    sink.log(0, {"eval:accuracy": 0.21})
    assert capsys.readouterr().err == "step 0/4  eval accuracy 0.210\n"


def test_a_step_that_took_no_time_has_no_speed(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleSink("plain", 4).log(1, {"train:tokens": 5.0, "train:seconds": 0.0})
    assert capsys.readouterr().err == "step 1/4  ETA 0s\n"


def test_none_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ConsoleSink("none", 4)
    sink.log(1, STEP)
    sink.close()
    assert capsys.readouterr() == ("", "")


def test_rich_shows_the_last_state_and_what_was_measured_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    asked: list[object] = []

    def terminal(**options: object) -> Console:
        asked.append(options)
        return Console(file=screen, force_terminal=True, width=100)

    monkeypatch.setattr(console, "Console", terminal)
    sink = ConsoleSink("rich", 40)
    sink.log(0, {"eval:accuracy": 0.21})
    sink.log(10, STEP)
    sink.close()
    shown = screen.getvalue()
    assert asked == [{"stderr": True}]
    last = shown[shown.rindex("10/40") :]
    for words in (
        "accuracy 0.500",
        "reward 0.625",
        "loss -0.0123",
        "1,500 tokens/s",
        "eval accuracy 0.210",
        "ETA 1m",
    ):
        assert words in last
    assert shown.endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (185, "3m 05s"), (3600, "1h 00m"), (7620, "2h 07m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
