"""What can be searched, and the config of a trial."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, MaporlError
from maporl_cli.tuning.space import distributions, found_config, trial_config


def config(*sets: str, space: str = "") -> Config:
    return load_config(sets=[*sets, f"tune.space={{{space}}}"] if space else sets).config


def refused(*sets: str, space: str) -> str:
    with pytest.raises(ConfigError) as caught:
        distributions(config(*sets, space=space))
    assert "Fix: " in caught.value.message
    return caught.value.message


class TestDistributions:
    def test_the_guides(self):
        assert distributions(Config()) == {
            "train.learning_rate": CategoricalDistribution((1e-5, 3e-5, 5e-5)),
            "train.num_epochs": IntDistribution(10, 20),
            "train.batch_size": CategoricalDistribution((4, 8, 12)),
            "reward.safety_penalty_weight": FloatDistribution(1.0, 5.0),
        }

    def test_whole_numbers_only_where_the_key_takes_no_other(self):
        found = distributions(
            config(space="train.warmup_steps: {low: 0, high: 9}, train.kl_coeff: {low: 0, high: 1}")
        )
        assert found == {
            "train.warmup_steps": IntDistribution(0, 9),
            "train.kl_coeff": FloatDistribution(0.0, 1.0),
        }

    def test_a_rate_that_yaml_reads_as_text_is_a_number(self):
        found = distributions(config(space="train.learning_rate: [1e-5, 1e-4]"))
        assert found["train.learning_rate"] == CategoricalDistribution((1e-5, 1e-4))
        found = distributions(config(space="train.learning_rate: {low: 1e-5, high: 1e-2, log: true}"))
        assert found["train.learning_rate"] == FloatDistribution(1e-5, 1e-2, log=True)

    def test_an_agents_own_key_goes_by_its_name(self):
        found = distributions(config(space="team.agents.planner.temperature: [0.5, 1]"))
        assert found == {"team.agents.planner.temperature": CategoricalDistribution((0.5, 1.0))}

    def test_an_agent_by_its_name_and_by_its_number(self):
        space = "team.agents.planner.temperature: [0.5, 1], team.agents.0.temperature: [0.7]"
        refused = "team.agents.planner.temperature and team.agents.0.temperature are one key"
        with pytest.raises(ConfigError, match=refused):
            distributions(config(space=space))
        other = "team.agents.planner.temperature: [0.5, 1], team.agents.1.temperature: [0.7]"
        assert len(distributions(config(space=other))) == 2

    def test_choices_that_its_key_takes_for_one(self):
        with pytest.raises(ConfigError, match=r"train.learning_rate has the choice 0.001 twice"):
            distributions(config(space="train.learning_rate: [1e-3, '0.001']"))

    def test_epochs_where_steps_are_given(self):
        assert "train.max_steps=4 takes its place" in refused(
            "train.max_steps=4", space="train.num_epochs: [1, 2]"
        )

    def test_what_a_study_sets_itself(self):
        assert "Searching train.eval_every would change nothing." in refused(space="train.eval_every: [1, 2]")

    def test_an_unknown_key_names_the_nearest(self):
        assert "did you mean train.learning_rate?" in refused(space="train.learning_rat: [1]")

    def test_a_value_that_the_key_cannot_have(self):
        told = refused(space="train.algorithm: [rloo], train.group_size: [1]")
        assert "rollout.group_size" in told
        told = refused(space="train.learning_rate: {low: -1, high: 1}")
        assert "-1 is searched, and train.learning_rate cannot be that." in told
        assert "Where: tune.space.train.learning_rate" in told

    @pytest.mark.parametrize("key", ["train.ppo", "team.agents", "train"])
    def test_more_than_one_value(self, key):
        with pytest.raises(MaporlError) as caught:
            distributions(config(space=f"{key}: [1]"))
        assert caught.value.exit_code == 3


class TestTheConfigSection:
    @pytest.mark.parametrize(
        ("space", "why"),
        [
            ("train.kl_coeff: []", "at least one item"),
            ("train.kl_coeff: [1, 1]", "has a choice twice"),
            ("train.kl_coeff: {low: 2, high: 1}", "2 is not below 1"),
            ("train.kl_coeff: {low: 1, high: 1}", "1 is not below 1"),
            ("train.kl_coeff: {low: 0, high: 1, log: true}", "by factors cannot begin at 0"),
            ("train.kl_coeff: 1", "a list"),
            ("run.seed: [1, 2]", "does not decide how a team learns"),
            ("data.sample_seed: [1, 2]", "does not decide how a team learns"),
        ],
    )
    def test_what_cannot_be_searched(self, space, why):
        with pytest.raises(ConfigError) as caught:
            config(space=space)
        assert why in caught.value.message
        assert "tune.space" in caught.value.message

    def test_nothing_to_search(self):
        with pytest.raises(ConfigError, match="nothing would be searched"):
            load_config(sets=["tune.space={train.kl_coeff: null}"])

    def test_null_leaves_out_what_a_preset_searches(self):
        found = load_config(preset="clinic", sets=["tune.space.train.kl_coeff=null"]).config.tune.space
        assert "train.learning_rate" in found
        assert "train.kl_coeff" not in found

    def test_an_objective_that_no_metric_emits(self):
        with pytest.raises(ConfigError, match=r"tune\.objective cannot be 'eval:f1'"):
            load_config(sets=["tune.objective=eval:f1"])

    def test_nothing_can_be_stopped_by_what_is_not_measured_on_the_way(self):
        with pytest.raises(ConfigError, match="is not measured on the way"):
            load_config(sets=["tune.objective=eval:sampled_accuracy"])

    def test_the_presets_can_be_searched(self):
        for preset in ("clinic", "smollm2", "medxpert"):
            assert distributions(load_config(preset=preset).config)


class TestTrials:
    def test_it_is_evaluated_on_tuning_questions_only(self):
        base = load_config(preset="clinic", sets=["run.name=s", "run.output_dir=o"]).config
        found = trial_config(base, {"train.learning_rate": 0.5}, name="trial_000", steps_between=3)
        assert str(found.run.output_dir) == "o/s"
        assert (found.run.name, found.train.learning_rate) == ("trial_000", 0.5)
        assert (found.data.tuning_fraction, found.train.eval_every) == (0.1, 3)
        assert found.eval.baselines == ()

    def test_a_batch_of_another_size_comes_out_even(self):
        """12 × 8 = 96 episodes are no number of passes of 128; 32 is the largest that divides both."""
        found = trial_config(Config(), {"train.batch_size": 12}, name="t")
        assert found.train.per_device_train_batch_size == 32
        given = {"train.batch_size": 12, "train.per_device_train_batch_size": 48}
        assert trial_config(Config(), given, name="t").train.per_device_train_batch_size == 48

    def test_what_was_found_is_for_any_training(self):
        base = load_config(preset="clinic", sets=["run.name=s"]).config
        found = found_config(base, {"train.learning_rate": 0.5})
        assert found.train.learning_rate == 0.5
        assert (found.run.name, found.data, found.eval) == (None, base.data, base.eval)
