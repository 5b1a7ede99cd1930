"""Settings that are allowed, and in vain: each is told, and none that means something."""

from __future__ import annotations

from typing import Any

import pytest
from support import WORDS, tiny_policy
from transformers import GPT2Config, GPT2LMHeadModel

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.tiny import tiny_tokenizer
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config, preset_names
from maporl_cli.worker.cautions import cautions, run_plainly


def told(**sections: dict[str, Any]) -> list[str]:
    return list(cautions(Config.model_validate(sections)))


ROUNDS = {"max_rounds_per_episode": 2}


@pytest.mark.parametrize("preset", preset_names())
def test_no_preset_is_in_vain(preset: str) -> None:
    assert list(cautions(load_config(preset=preset).config)) == []


@pytest.mark.parametrize(
    ("about", "sections"),
    [
        ("in one round nobody can change", {"train": {"credit": "influence"}}),
        (
            "there is one only",
            {"train": {"credit": "influence"}, "team": {**ROUNDS, "agents": [{"name": "reporter"}]}},
        ),
        ("train.kl_coeff=0", {"train": {"kl_in": "reward"}}),
        ("train.ppo is set", {"train": {"ppo": {"gae_lambda": 0.5}}}),
        ("train.value_loss_coeff is set", {"train": {"value_loss_coeff": 0.5, "algorithm": "reinforce_pp"}}),
        ("train.influence is set", {"train": {"influence": {"alpha0": 5}}}),
        ("train.gamma is set", {"train": {"gamma": 0.3, "credit": "leave_one_out"}}),
        ("reward.verifier_refresh is set", {"reward": {"verifier_refresh": 3}}),
        (
            "at the end of step 10, and the training ends with step 10",
            {"reward": {"verifier": "learned"}, "train": {"max_steps": 10}},
        ),
    ],
)
def test_what_is_in_vain(about: str, sections: dict[str, Any]) -> None:
    (caution,) = told(**sections)
    assert about in caution


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {"credit": "influence", "influence": {"alpha0": 5}}, "team": ROUNDS},
        {"train": {"kl_in": "reward", "kl_coeff": 0.1}},
        {"train": {"algorithm": "maporl_ppo", "ppo": {"gae_lambda": 0.5}, "value_loss_coeff": 0.5}},
        {"train": {"algorithm": "of_a_plug_in", "ppo": {"gae_lambda": 0.5}}},
        {"train": {"gamma": 0.3, "credit": "maporl"}},
        {"reward": {"verifier": "learned", "verifier_refresh": 3}, "train": {"max_steps": 10}},
        {"reward": {"verifier": "learned"}},
    ],
)
def test_what_means_something(sections: dict[str, Any]) -> None:
    assert told(**sections) == []


def test_models_that_transformers_runs_itself_are_told_of_once_a_reason():
    odd = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=8, n_layer=1, n_head=1))
    plain = CausalPolicy(odd, tiny_tokenizer(WORDS), frozenset({1}))
    (told_,) = run_plainly({"planner": plain, "analyst": tiny_policy(), "reporter": plain})
    assert told_.startswith(
        "transformers' own forward runs the model of planner, reporter, since GPT2LMHeadModel is no "
    )
    assert list(run_plainly({"planner": tiny_policy()})) == []
