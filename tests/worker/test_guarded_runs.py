"""Guards in whole runs: on disk, over a resume, on several ranks, and with a hole in the reward."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from ranks import on_ranks
from small_runs import go, small

from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import RunFailed
from maporl_cli.worker import train
from maporl_cli.worker.job import join, open_store

pytestmark = pytest.mark.usefixtures("undrawn")

DEAD = [
    "train.guards=stop",
    "train.guard_window=4",
    "train.max_steps=18",
    "train.save_every=5",
    "eval.baselines=[]",
    "data.max_eval_samples=2",
    *(f"team.agents.{agent}.max_new_tokens=3" for agent in ("planner", "researcher", "analyst", "reporter")),
]
"""Policies so young answer nothing right, so no group has a spread: told over four windows, at step 16."""


@pytest.fixture(scope="module")
def stopped_at_16(tmp_path_factory) -> tuple[RunFailed, Path]:
    """How a run ended that its guard stopped, and where it is."""
    folder = tmp_path_factory.mktemp("dead")
    with pytest.raises(RunFailed, match="guard dead_groups") as told:
        go(small(folder, *DEAD))
    return told.value, folder / "run"


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_stops_where_its_guard_fires_and_says_so_everywhere(stopped_at_16):
    told, run = stopped_at_16
    assert told.where == f"step 16; last good checkpoint: {run / 'checkpoints' / 'step_000000'}"
    rows = metrics(run)
    assert [row["step"] for row in rows if "guard:dead_groups" in row] == [16]
    assert rows[-1]["step"] == 16
    assert "guard dead_groups stopped the training" in (run / "logs" / "rank_0.log").read_text()
    assert "dead_groups at step 16" in (run / "report.html").read_text()


def test_a_resumed_run_remembers_what_came_before_it(stopped_at_16, tmp_path):
    """Stopped again at the same step, though it saw only the last of the sixteen; told to, it goes on."""
    shutil.copytree(stopped_at_16[1], tmp_path / "run")
    with pytest.raises(RunFailed, match="guard dead_groups") as told:
        go(small(tmp_path, *DEAD), resume=True)
    assert told.value.where.startswith("step 16;")
    assert go(small(tmp_path, *DEAD, "train.guards=warn"), resume=True)["steps"] == 18
    said = (tmp_path / "run" / "training.log").read_text()
    assert said.count("Guard dead_groups fired at step 16") == 1
    assert f"Last good checkpoint: {tmp_path / 'run' / 'checkpoints' / 'step_000000'}" in said


def test_the_collapse_of_a_baseline_is_no_reason_to_stop(tmp_path):
    sets = [*DEAD, "train.max_steps=15", "eval.baselines=[single]"]
    done = go(small(tmp_path, *sets))
    assert done["eval"]["single"]["steps"] >= 16, "it trains on as many tokens as the team, in more steps"
    assert any("guard:dead_groups" in row for row in metrics(tmp_path / "run" / "baselines" / "single"))


def stopped(settings: Config) -> str:
    try:
        train(
            settings,
            resume=False,
            overwrite=False,
            command="test",
            display="none",
            ranks=join(settings, open_store()),
        )
    except RunFailed as error:
        return f"{error.what} {error.where}"
    return "not stopped"


def test_all_ranks_stop_together(tmp_path):
    told = on_ranks(2, stopped, small(tmp_path, *DEAD))
    assert len(set(told)) == 1
    assert told[0].startswith("The guard dead_groups stopped the training. step 16;")


OPENS, LEARNED = 35, 80
HOLE = f'''
"""Pays for a magic word: from step {OPENS} on, teams whose analyst says "instead"."""

from maporl_cli.rewards.component import Measure, register_component

def magic(episode):
    if episode.step < {OPENS}:
        return None
    return Measure(float(any("instead" in turn.text for turn in episode.turns if turn.agent == "analyst")))

register_component("magic", magic)
'''
"""In half of the cases the analyst has to say it anyway, so any team finds it at once. No component out-earns
a right answer, but with a weight of ten this one is worth .45 for certain where a right answer is worth .55,
one time in two: a team that is not yet good gives accuracy up for it."""


def clinic(folder: Path, *sets: str) -> Config:
    places = [f"run.output_dir={folder}", "run.name=run", "eval.baselines=[]"]
    return load_config(preset="clinic", file=None, environ={}, sets=[*places, *sets], flags={}).config


def smoothed(rows: list[dict[str, float]], steps: int = 10) -> dict[int, float]:
    """The mean training accuracy of the last steps, up to each step."""
    accuracy = [row["train:accuracy"] for row in rows]
    return {end: fmean(accuracy[max(0, end - steps) : end]) for end in range(1, len(rows) + 1)}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_planted_hole_is_found_before_accuracy_has_lost_ten_points(tmp_path):
    plugin = tmp_path / "hole.py"
    plugin.write_text(HOLE)
    sets = [f"run.plugins=[{plugin}]", "reward.extra_weights={magic: 10}", f"train.max_steps={LEARNED}"]
    go(clinic(tmp_path, *sets, "train.lr_scheduler_type=constant", "data.max_eval_samples=40"))
    rows = metrics(tmp_path / "run")[1:]
    accuracy = smoothed(rows)
    lost = next(
        (
            step
            for step in accuracy
            if accuracy[step] < max(accuracy[then] for then in range(1, step + 1)) - 0.1
        ),
        None,
    )
    fired = {name: row["step"] for row in reversed(rows) for name in row if name.startswith("guard:")}
    print("first fired:", fired, "ten points lost:", lost, "accuracy:", accuracy)
    assert lost is not None, "the hole must be worth falling into"
    assert lost > OPENS
    assert fired, "nothing was found"
    assert OPENS <= min(fired.values()) < lost


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_guard_fires_in_a_training_that_goes_well(tmp_path):
    done = go(clinic(tmp_path, "train.guards=stop"))
    assert done["eval"]["after"]["accuracy"] > 0.8
    assert not any(name.startswith("guard:") for row in metrics(tmp_path / "run") for name in row)
