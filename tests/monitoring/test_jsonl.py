import json
import time
from pathlib import Path

import pytest

from maporl_cli.core.errors import RunFailed
from maporl_cli.monitoring.jsonl import JsonlSink, read_metrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def test_a_flat_object_a_step(path: Path) -> None:
    sink = JsonlSink(path)
    began = time.time()
    sink.log(1, {"train:accuracy": 0.25, "planner:loss": -0.5})
    first = json.loads(path.read_text())  # on disk before the sink is closed
    sink.log(2, {"train:accuracy": 0.5})
    sink.close()
    assert began <= first.pop("time") <= time.time()
    assert first == {"step": 1, "train:accuracy": 0.25, "planner:loss": -0.5}
    assert [row["step"] for row in read_metrics(path)] == [1, 2]


def test_a_value_that_is_not_finite_is_null(path: Path) -> None:
    JsonlSink(path).log(1, {"a:loss": float("nan"), "b:loss": float("inf"), "c:loss": 1.0})
    (row,) = read_metrics(path)
    assert (row["a:loss"], row["b:loss"], row["c:loss"]) == (None, None, 1.0)
    assert "NaN" not in path.read_text()


def test_rewind_drops_the_steps_after_and_keeps_the_rest_byte_for_byte(path: Path) -> None:
    sink = JsonlSink(path)
    for step in (1, 2):
        sink.log(step, {"x": step / 3})
    kept = path.read_bytes()
    for step in (3, 4):
        sink.log(step, {"x": step / 3})
    sink.rewind(2)
    assert path.read_bytes() == kept
    sink.log(3, {"x": 9.0})
    assert [(row["step"], row["x"]) for row in read_metrics(path)] == [(1, 1 / 3), (2, 2 / 3), (3, 9.0)]


@pytest.mark.parametrize("torn", ['{"step": 2, "x', '{"step": 2}', '{"step": 1'])
def test_a_line_torn_by_a_kill_is_dropped(path: Path, torn: str) -> None:
    sink = JsonlSink(path)
    sink.log(1, {"x": 1.0})
    whole = path.read_text()
    path.write_text(whole + torn)
    assert [row["step"] for row in read_metrics(path)] == [1]
    sink.rewind(5)
    assert path.read_text() == whole


def test_rewinding_and_reading_a_run_that_never_logged(path: Path) -> None:
    JsonlSink(path).rewind(3)
    assert not path.exists()
    assert read_metrics(path) == []


def test_parts_of_a_step_are_one_step_when_read(path: Path) -> None:
    sink = JsonlSink(path)
    sink.log(1, {"train:loss": 1.0})
    sink.log(2, {"train:loss": 2.0})
    sink.log(1, {"eval:accuracy": 0.5})
    first, second = read_metrics(path)
    assert (first["train:loss"], first["eval:accuracy"]) == (1.0, 0.5)
    assert second["train:loss"] == 2.0


def test_a_damaged_line_in_the_middle_is_not_passed_over(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"step": 1}\n[]\n{"step": 3}\n')
    with pytest.raises(RunFailed, match="line 2"):
        read_metrics(path)
