"""The smallest runs of the preset `clinic` there can be."""

from __future__ import annotations

import shutil
from pathlib import Path

from maporl_cli.core.atomic import discard
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.worker import train

SMALL = [
    "data.max_train_samples=40",
    "data.max_eval_samples=12",
    "train.max_steps=4",
    "train.batch_size=4",
    "rollout.group_size=4",
    "train.per_device_train_batch_size=16",
    "train.save_every=2",
    "train.cold_start.copy_steps=2",
    "train.cold_start.role_steps=3",
    "train.cold_start.batch_size=2",
]

PAYING_FOR_IDS = """
from maporl_cli.rewards.component import Measure, register_component

def ids(episode):
    return Measure(sum(sum(turn.token_ids) for turn in episode.turns) % 97 / 97)

register_component("ids", ids)
"""
"""A plug-in. Tiny policies so young answer nothing right; its reward differs anyway, so every step learns."""

HALF_KNOWN = """
from dataclasses import replace
from maporl_cli.data.benchmarks import benchmark, benchmark_names, register_benchmark

clinic = benchmark("clinic")

class HalfKnown:
    name, roles = "half_known", "clinic"
    evaluation, vocabulary = clinic.evaluation, clinic.vocabulary
    copying, demonstration = clinic.copying, clinic.demonstration

    def train(self, seed):
        for number, question in enumerate(clinic.train(seed)):
            yield replace(question, answer="") if number % 2 else question

if "half_known" not in benchmark_names():  # of another test, from another folder
    register_benchmark(HalfKnown())
"""
"""A plug-in: the benchmark `half_known`, the clinic without every second training question's answer."""


def small(folder: Path, *sets: str, name: str = "run") -> Config:
    places = [f"run.output_dir={folder}", f"run.name={name}"]
    return load_config(preset="clinic", file=None, environ={}, sets=[*SMALL, *places, *sets], flags={}).config


def half_known(folder: Path, *sets: str, name: str = "run") -> Config:
    """Refreshed every second step; every episode is also paid for its ids, so that every step learns."""
    plugin = folder / "half.py"
    plugin.write_text(HALF_KNOWN)
    paying = folder / "ids.py"
    paying.write_text(PAYING_FOR_IDS)
    verified = [
        f"run.plugins=[{plugin}, {paying}]",
        "reward.extra_weights={ids: 1}",
        "data.train=half_known",
        "reward.verifier=learned",
        "reward.verifier_refresh=2",
        "eval.baselines=[]",
    ]
    return small(folder, *verified, *sets, name=name)


def killed_after_step_2(whole: Path, parts: Path) -> None:
    """Make of a run that is over one that was killed when its last checkpoint was not written."""
    shutil.copytree(whole, parts)
    discard(parts / "checkpoints" / "step_000004")


def go(config: Config, *, resume: bool = False, profile: bool = False) -> dict:
    return train(config, resume=resume, overwrite=False, command="test", display="none", profile=profile)
