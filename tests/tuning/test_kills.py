"""kill -9 of a study, ten times in a row, with trials that train.

Slow: `make test-slow`, or `pytest -m slow tests/tuning/test_kills.py -s` to see where each struck.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from ranks import start_ranks
from small_runs import PAYING_FOR_IDS, small

from maporl_cli.tuning.tune import tune

KILLS = 10
TRIALS = 4


def search(folder: Path, resume: bool) -> dict[str, Any]:
    plugin = [f"run.plugins=[{folder.parent / 'ids.py'}]", "reward.extra_weights={ids: 1}"]
    none = [f"tune.space.train.{key}=null" for key in ("warmup_steps", "kl_coeff", "max_grad_norm")]
    none += ["tune.space.train.learning_rate={low: 1e-4, high: 1e-2, log: true}", "tune.eval_fraction=0.2"]
    more = [f"tune.max_trials={TRIALS}", "tune.confirm_seeds=1", "train.max_steps=12", "eval.baselines=[]"]
    config = small(folder, *plugin, *none, *more, "run.name=study")
    return tune(config, nproc=1, gpus=0, resume=resume, overwrite=False, say=print)


def steps(study: Path) -> int:
    """That all of its runs have logged."""
    return sum(len(path.read_bytes().splitlines()) for path in study.glob("*/metrics.jsonl"))


def learned(study: Path) -> dict[str, bytes]:
    files = [*study.glob("*/final_model/*/model.safetensors"), *study.glob("*/eval/*.records.jsonl")]
    return {str(path.relative_to(study)): path.read_bytes() for path in sorted(files)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_kills_lose_and_repeat_no_finished_trial(tmp_path: Path):
    (tmp_path / "ids.py").write_text(PAYING_FOR_IDS)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = search(whole, False)
    study, ended = broken / "study", dict[Path, int]()
    draws = random.Random(0)
    for kill in range(KILLS):
        before = steps(study)
        (process,) = start_ranks(1, search, broken, kill > 0).processes
        while (
            steps(study) == before and process.is_alive()
        ):  # so that the next one does not strike at nothing
            time.sleep(0.05)
        time.sleep(draws.uniform(0, 6))
        process.kill()
        process.join()
        print(f"kill {kill}: {sorted(path.name for path in study.glob('*_*'))}")
        for path in study.glob("*/training_results.json"):
            ended.setdefault(path, path.stat().st_mtime_ns)
    told = search(broken, True)
    assert [(one["value"], one["values"]) for one in told["trials"]] == [
        (one["value"], one["values"]) for one in undisturbed["trials"]
    ]
    assert len(told["trials"]) == TRIALS
    assert {path: path.stat().st_mtime_ns for path in ended} == ended
    assert learned(study) == learned(whole / "study")
    for trial in told["trials"]:
        assert json.loads((Path(trial["run"]) / "training_results.json").read_text())["steps"] == 12
