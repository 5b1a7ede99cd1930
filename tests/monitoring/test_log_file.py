import re
from pathlib import Path

from maporl_cli.monitoring.log_file import LogFile, LogSink

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  "


def test_a_line_for_each_thing_said_and_each_step(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "training.log")
    log.say("the team is ready")
    sink = LogSink(log, "single: ", 4)
    sink.log(3, {"train:accuracy": 0.5, "train:seconds": 2.0})
    sink.close()
    said, step = (tmp_path / "training.log").read_text().splitlines()
    assert re.fullmatch(STAMP + "the team is ready", said)
    assert re.fullmatch(STAMP + r"single: step 3/4  accuracy 0\.500", step)


def test_a_resumed_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for _ in range(2):
        LogFile(tmp_path / "training.log").say("begin")
    assert len((tmp_path / "training.log").read_text().splitlines()) == 2
