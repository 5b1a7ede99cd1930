"""Whether ranks fit their memory, and what is proposed where they do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from maporl_cli.agents.blueprint import Blueprint, draw
from maporl_cli.core.config import Config
from maporl_cli.training import fit
from maporl_cli.training.fit import Device, Phase, hosts_for, what_to_lower
from maporl_cli.training.memory import RankMemory, rank_memory
from maporl_cli.training.placement import Placement, place

TEAM = ("planner", "researcher", "analyst", "reporter")
GB = 10**9
SHAPE = LlamaConfig(
    vocab_size=30_000,
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=12,
    num_attention_heads=8,
    num_key_value_heads=4,
    max_position_embeddings=2048,
)


def config(**sections: Any) -> Config:
    agents = [{"name": name, "max_new_tokens": 64} for name in TEAM]
    model = {"name": "m", "dtype": "bf16", **sections.pop("model", {})}
    return Config.model_validate({"team": {"agents": agents}, "model": model, **sections})


@cache
def print_of(finetune: str) -> Blueprint:
    settings = config(model={"finetune": finetune})
    with torch.device("meta"):
        model = LlamaForCausalLM(SHAPE).to(torch.float32 if finetune == "full" else torch.bfloat16)
        return draw(model, settings, settings.team.agents[0], "m")


def estimator(placement: Placement) -> Callable[[Config], list[Phase]]:
    def estimate(settings: Config) -> list[Phase]:
        prints = {"m": print_of(settings.model.finetune)}
        ranks = [rank_memory(settings, rank.agents, prints, placement.replicas) for rank in placement.ranks]
        return [Phase("team", placement, tuple(ranks))]

    return estimate


def gpu(gigabytes: float) -> Device:
    return Device("GPU", int(gigabytes * GB), shared=False)


def advice(settings: Config, gigabytes: float, ranks: int = 4):
    return what_to_lower(settings, estimator(place(TEAM, ranks)), gpu(gigabytes))


def test_a_gpu_holds_a_rank_and_ram_all_ranks_of_a_host():
    ranks = tuple(RankMemory(model=size * GB, process=0) for size in (1, 2, 3, 5))
    phase = Phase("team", place(TEAM, 4, nodes=2), ranks)
    assert phase.load(gpu(8)) == 5 * GB
    assert phase.load(Device("RAM", 8 * GB, shared=True)) == 8 * GB


def test_not_all_of_a_memory_may_be_filled():
    phase = Phase("team", place(TEAM, 1), (RankMemory(model=10 * GB, process=0),))
    assert phase.fits(gpu(12))
    assert not phase.fits(gpu(10.5))
    assert phase.fits(Device("RAM", 17 * GB, shared=True))
    assert not phase.fits(Device("RAM", 15 * GB, shared=True))


@pytest.mark.parametrize(
    ("gpus", "sizes"), [(0, {1: 1, 4: 1, 16: 1}), (4, {1: 1, 4: 1, 8: 2, 16: 4}), (8, {4: 1, 12: 2, 16: 2})]
)
def test_hosts_are_like_this_one(gpus, sizes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert {size: hosts_for(size) for size in sizes} == sizes


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a machine without a GPU")
def test_without_a_gpu_there_is_ram():
    device = fit.device_at_hand()
    assert (device.name, device.shared) == ("RAM", True)
    assert device.bytes > GB // 2


def test_what_fits_needs_no_change():
    assert advice(config(), 80).changes == {}


def test_activations_in_the_way_are_computed_anew_first():
    settings = config(train={"per_device_train_batch_size": 16})
    found = advice(settings, 8)
    assert found.fits
    assert found.changes == {"model.gradient_checkpointing": True}


def test_then_passes_get_smaller_and_still_come_out_even():
    train = {"batch_size": 6, "per_device_train_batch_size": 48, "gradient_accumulation_steps": 1}
    found = advice(config(train=train), 5)
    assert found.fits
    assert found.changes["train.gradient_accumulation_steps"] == "auto"
    assert 48 % found.changes["train.per_device_train_batch_size"] == 0
    assert "model.finetune" not in found.changes


def test_a_cache_in_the_way_gets_fewer_rows_of_both_kinds():
    settings = config(
        train={"per_device_train_batch_size": 1, "batch_size": 16},
        rollout={"group_size": 16},
        eval={"batch_size": 256},
    )
    found = advice(settings, 9)
    assert found.fits
    assert set(found.changes) == {"eval.batch_size", "rollout.microbatches"}
    assert found.changes["eval.batch_size"] < 256


def test_weights_in_the_way_are_shared():
    settings = config(train={"per_device_train_batch_size": 1, "kl_coeff": 0.1}, eval={"batch_size": 4})
    found = advice(settings, 4, ranks=1)
    assert found.fits
    assert next(iter(found.changes)) == "model.finetune"
    assert found.changes["model.finetune"] == "lora"


def test_what_is_proposed_is_enough_and_nothing_less():
    settings = config(train={"per_device_train_batch_size": 32})
    estimate = estimator(place(TEAM, 4))
    found = advice(settings, 3)
    applied = fit._changed(settings, found.changes)
    assert found.fits
    assert estimate(applied)[0].fits(gpu(3))
    assert found.load == estimate(applied)[0].load(gpu(3))
    assert not estimate(settings)[0].fits(gpu(3))


def test_where_nothing_helps_it_says_so():
    found = advice(config(), 0.3)
    assert not found.fits
    assert found.load > 0.3 * GB


def test_tiny_policies_are_not_told_to_use_lora():
    settings = Config.model_validate({"eval": {"baselines": ["single"]}})
    placement = place(TEAM, 1)

    def estimate(settings: Config) -> list[Phase]:
        names = ["team", *settings.eval.baselines]
        return [
            Phase(name, placement, (RankMemory(model=(1 + index) * GB),)) for index, name in enumerate(names)
        ]

    found = what_to_lower(settings, estimate, gpu(2))
    assert (found.changes, found.fits) == ({"eval.baselines": ()}, True)
    assert what_to_lower(settings, estimate, gpu(1)).changes == {"eval.baselines": ()}
