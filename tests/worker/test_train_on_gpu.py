"""A run on a GPU is that of a CPU, also where it goes on from a checkpoint. The GPU is a pretended one
(`pretended_gpu`), for the agents as for the verifier, the value heads and the frozen starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from pretended_gpu import GPU, pretended_gpu
from small_runs import go, half_known, killed_after_step_2

import maporl_cli.worker.session as session
from maporl_cli.agents import replay
from maporl_cli.core.config import Config

pytestmark = pytest.mark.usefixtures("undrawn")


@contextmanager
def gpu() -> Iterator[None]:
    with (
        pretended_gpu() as machine,
        patch.object(session, "default_device", lambda: GPU),
        patch.object(replay, "READY", 2),  # turns are short
    ):
        yield
        assert machine.replays > machine.recorded > 4


def everything(folder: Path, name: str) -> Config:
    return half_known(
        folder,
        "train.algorithm=maporl_ppo",
        "train.credit=maporl",
        "train.kl_coeff=0.1",
        "train.learning_rate=0.01",
        "train.batch_size=2",
        "train.per_device_train_batch_size=4",
        "data.max_eval_samples=4",
        "model.dtype=fp32",
        "train.cold_start.role_steps=30",  # or no turn would ever end
        name=name,
    )


def told(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    return [
        {key: value for key, value in row.items() if "seconds" not in key and key != "time"} for row in rows
    ]


def test_a_run_and_its_second_sitting(tmp_path):
    go(everything(tmp_path, "cpu"))
    with gpu():
        go(everything(tmp_path, "gpu"))
        killed_after_step_2(tmp_path / "gpu", tmp_path / "twice")
        go(everything(tmp_path, "twice"), resume=True)
    expected = told(tmp_path / "cpu")
    assert expected[-1]["planner:grad_norm"] > 0
    assert "verifier:brier" in expected[-1]
    assert told(tmp_path / "twice") == told(tmp_path / "gpu")
    for row, known in zip(told(tmp_path / "gpu"), expected, strict=True):
        assert row == pytest.approx(known, rel=1e-3, abs=1e-4)
