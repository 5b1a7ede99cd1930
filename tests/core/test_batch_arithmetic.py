"""The equation of questions, groups and passes, and what is said where it does not come out even."""

from __future__ import annotations

import pytest

from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError


class TestBatchArithmetic:
    @pytest.mark.parametrize(
        "sets",
        [
            ["train.batch_size=3", "train.per_device_train_batch_size=10"],
            ["train.batch_size=5", "train.per_device_train_batch_size=16"],
            [
                "train.batch_size=5",
                "train.per_device_train_batch_size=16",
                "train.gradient_accumulation_steps=2",
            ],
            ["train.gradient_accumulation_steps=3"],
            ["train.batch_size=1", "rollout.group_size=3", "train.per_device_train_batch_size=64"],
        ],
    )
    def test_each_way_out_that_the_fix_names_works(self, sets):
        with pytest.raises(ConfigError) as error:
            load_config(sets=sets)
        assert "episodes" in error.value.why
        assert "train.batch_size (" in error.value.where
        fix = error.value.fix.removeprefix("set ").removeprefix("--set ").partition(" (which")[0]
        common, _, choices = fix.rpartition(" and ")
        ways = []
        for choice in choices.split(", or "):
            key, _, values = choice.partition("=")
            ways += [f"{key}={value}" for value in values.split(" or ")]
        for way in ways:
            load_config(sets=[*sets, *([common] if common else []), way]).config.accumulation_steps()

    @pytest.mark.parametrize(
        ("sets", "fix"),
        [
            # 3 × 8 = 24 in passes of 10: 8 divides 24, and 5 × 8 = 40 is 4 passes.
            (["train.batch_size=3", "train.per_device_train_batch_size=10"], (8, "5")),
            # 7 × 8 = 56 in passes of 16: 14 divides 56, and 6 × 8 = 48, 8 × 8 = 64 are 3 and 4 passes.
            (["train.batch_size=7", "train.per_device_train_batch_size=16"], (14, "6 or 8")),
        ],
    )
    def test_the_fix_is_the_nearest_one(self, sets, fix):
        with pytest.raises(ConfigError) as error:
            load_config(sets=sets)
        per_pass, questions = fix
        expected = f"set train.per_device_train_batch_size={per_pass}, or train.batch_size={questions}"
        assert error.value.fix == expected

    def test_the_numbers_are_shown(self):
        with pytest.raises(ConfigError, match="batch_size 3 × group_size 8 = 24 episodes"):
            load_config(sets=["train.batch_size=3", "train.per_device_train_batch_size=10"])

    def test_auto_solves_for_the_passes(self):
        config = load_config(sets=["train.per_device_train_batch_size=32"]).config
        assert config.accumulation_steps() == 4
        assert config.accumulation_steps(replicas=2) == 2
