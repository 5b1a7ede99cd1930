"""What an endpoint's GPUs need, against what a team takes that is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from served_run import finished_run
from support import tiny_policy

from maporl_cli.agents.blueprint import Blueprint, blueprints
from maporl_cli.core.config import Config
from maporl_cli.training.memory import PROCESS, sampling
from maporl_cli.worker import serving_memory as serving_memory_module
from maporl_cli.worker.final_model import of_folders, open_final_model
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.serving_memory import serving_memory


def test_weights_are_counted_as_they_are_loaded_and_agents_go_round(tmp_path) -> None:
    run = finished_run(tmp_path)
    config = of_folders(run, run.load_config())
    policies = open_final_model(run, Narrator("none")).policies
    bytes_of = [
        sum(one.numel() * one.element_size() for one in policy.trainable().values())
        for policy in policies.values()
    ]
    (alone,) = serving_memory(config, 0)
    # Buffers, such as the frequencies of the rotation, are in it, too.
    assert sum(bytes_of) <= alone.model <= 1.01 * sum(bytes_of)
    assert alone.peak == PROCESS + alone.model + alone.cache
    assert [need.model for need in serving_memory(config, 3)] == [
        alone.model // 2,
        alone.model // 4,
        alone.model // 4,
    ]
    assert len(serving_memory(config, 8)) == 4, "more GPUs than agents"


class Reading:
    """A team that reads text, whose model is as small as it gets; what its calls take, context by context."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny_policy(1).save(folder)
        self._patch = monkeypatch
        seats = [{"name": name, "max_new_tokens": new} for name, new in (("planner", 8), ("reporter", 40))]
        self._sections = {"team": {"agents": seats}, "eval": {"batch_size": 64}}
        self._folder = str(folder)

    def config(self, context: int, **model: object) -> Config:
        def seen(config: Config) -> dict[str, Blueprint]:
            return {name: replace(one, context=context) for name, one in blueprints(config).items()}

        self._patch.setattr(serving_memory_module, "blueprints", seen)
        return Config.model_validate({**self._sections, "model": {"name": self._folder, **model}})

    def call(self, config: Config, rows: int, prompt: int, new: int = 40) -> int:
        (one,) = serving_memory_module.blueprints(config).values()
        return sampling(one, rows, prompt, new)


@pytest.fixture
def reading(tmp_path, monkeypatch) -> Reading:
    return Reading(tmp_path / "model", monkeypatch)


def test_it_is_planned_for_the_longest_question(reading) -> None:
    config = reading.config(100_000)
    (one,) = serving_memory(config, 0)
    assert one.cache == reading.call(config, 1, 1024 + 50_000 // 4)


def test_the_largest_call_of_any_agent_counts_as_far_as_its_context_goes(reading) -> None:
    config = reading.config(2000)
    reads_more, writes_more = reading.call(config, 1, 1992, 8), reading.call(config, 1, 1960, 40)
    assert serving_memory(config, 0)[0].cache == reads_more > writes_more


def test_agents_of_one_base_share_it(reading) -> None:
    config = reading.config(2000, finetune="lora", dtype="fp32")
    (one,) = serving_memory_module.blueprints(config).values()
    assert one.shared_bytes > 0
    assert [need.model for need in serving_memory(config, 1)] == [one.shared_bytes + 2 * one.own_bytes]
    assert [need.model for need in serving_memory(config, 2)] == 2 * [one.shared_bytes + one.own_bytes]


def test_what_reads_and_writes_on_a_gpu_does_so_in_half_precision(reading) -> None:
    def needs(gpus: int, dtype: str) -> list[int]:
        return [one.peak for one in serving_memory(reading.config(2000, dtype=dtype), gpus)]

    assert needs(1, "auto") == needs(1, "bf16") != needs(1, "fp32")
    assert needs(0, "auto") == needs(0, "fp32")
