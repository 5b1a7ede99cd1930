"""A finished run that was never trained: its tiny policies answer every question in another way."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from small_runs import small

from maporl_cli.core.config import Config
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import benchmark
from maporl_cli.data.formats import to_row
from maporl_cli.training.checkpoint import Checkpoints, Progress
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.session import open_alone


def finished_run(folder: Path, *sets: str, config: Config | None = None) -> RunDir:
    """The run `folder/run`, with a checkpoint and a final model of the same weights."""
    config = config or small(folder, *sets)
    run = RunDir.open_new(config)
    session = open_alone(config, Narrator("none"))
    with torch.no_grad():
        for seed, policy in enumerate(session.policies.values()):
            torch.manual_seed(seed)
            for parameter in policy.trainable().values():
                # Random tied embeddings like to repeat the last token; larger weights give varied choices.
                parameter.copy_(3 * (parameter + 0.02 * torch.randn_like(parameter)))
    Checkpoints(run.checkpoints, keep=1).save(Progress(), session.policies, (), session.ranks)
    for agent, policy in session.policies.items():
        policy.save(run.final_model / agent)
    return run


def questions(count: int, start: int = 0) -> list[Question]:
    """Questions that tiny policies have the words for."""
    return list(islice(benchmark("clinic").evaluation(0), start, start + count))


def row(question: Question, /, **changed: Any) -> dict[str, Any]:
    """A question as a client sends it: nobody knows its answer."""
    told = {**to_row(question), **changed}
    return {name: value for name, value in told.items() if name not in ("label", "rationale")}


def body(value: object) -> bytes:
    return json.dumps(value).encode()
