"""How long four real ranks wait for each other: policies sleep, so that only the schedule is measured."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import fmean

from ranks import on_ranks
from small_runs import small

from maporl_cli.core.config import Config
from maporl_cli.monitoring.jsonl import read_metrics
from maporl_cli.worker import train
from maporl_cli.worker.job import join, open_store

SLEEPER = Path(__file__).parents[2] / "benchmarks" / "sleeper.py"
SETS = (
    f"run.plugins=[{SLEEPER}]",
    "model.name=sleeper",
    "reward.extra_weights={chance: 1}",
    "train.kl_coeff=0",
    "train.max_steps=2",
    "eval.baselines=[]",
)


def train_both(*configs: Config) -> None:
    os.environ["SLEEPER_CALL"] = "0.15"
    ranks = join(configs[0], open_store())
    for config in configs:
        train(config, resume=False, overwrite=False, command="test", display="none", ranks=ranks)


def idle(run: Path) -> float:
    return fmean(row["train:idle"] for row in read_metrics(run / "metrics.jsonl") if "train:idle" in row)


def test_ranks_are_busy_where_many_batches_travel_and_wait_where_one_does(tmp_path):
    naive = small(tmp_path, *SETS, "rollout.microbatches=1", name="naive")
    wavefront = small(tmp_path, *SETS, "rollout.microbatches=16", name="wavefront")
    on_ranks(4, train_both, naive, wavefront)
    assert 0.65 < idle(tmp_path / "naive") < 0.85, "three of four wait"
    assert idle(tmp_path / "wavefront") < 0.35, "(4 - 1) / (16 + 4 - 1), and what letters take"
