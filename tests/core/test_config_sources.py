"""Which source of a value wins, and what is said of a value that cannot be used."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import flat, load_config, preset_names
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.core.errors import ConfigError, UsageError


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text)
    return path


# From the weakest to the strongest.
SOURCES = ("preset", "file", "environ", "sets", "flags")


class TestPrecedence:
    @pytest.mark.parametrize("present", [c for n in range(6) for c in combinations(SOURCES, n)], ids="-".join)
    def test_the_strongest_source_present_wins(self, present, tmp_path, monkeypatch):
        presets = tmp_path / "presets"
        presets.mkdir()
        (presets / "mine.yaml").write_text("run: {seed: 1}")
        monkeypatch.setattr("maporl_cli.core.config_sources.files", lambda package: tmp_path)
        path = write(tmp_path, "run: {seed: 2}")
        given_by = {
            "preset": ("mine", 1, "preset mine"),
            "file": (path, 2, str(path)),
            "environ": ({"MAPORL_RUN__SEED": "3"}, 3, "environment MAPORL_RUN__SEED"),
            "sets": (["run.seed=4"], 4, "--set"),
            "flags": ({"run.seed": 5}, 5, "--seed"),
        }
        loaded = load_config(**{name: given_by[name][0] for name in present})
        _, seed, origin = given_by[present[-1]] if present else (None, 0, "default")
        assert loaded.config.run.seed == seed
        assert loaded.origin["run.seed"] == origin

    @settings(max_examples=60)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["learning_rate", "weight_decay", "kl_coeff"]), st.floats(1e-6, 1)),
            max_size=6,
        ),
        st.dictionaries(st.sampled_from(["learning_rate", "weight_decay", "kl_coeff"]), st.floats(1e-6, 1)),
    )
    def test_sets_win_over_the_environment_and_the_last_of_them_counts(self, sets, environ):
        loaded = load_config(
            environ={f"MAPORL_TRAIN__{key.upper()}": repr(value) for key, value in environ.items()},
            sets=[f"train.{key}={value!r}" for key, value in sets],
        )
        expected = {**environ, **dict(sets)}
        for key in ("learning_rate", "weight_decay", "kl_coeff"):
            default = getattr(Config().train, key)
            assert getattr(loaded.config.train, key) == expected.get(key, default)
            source = "--set" if key in dict(sets) else "environment" if key in environ else "default"
            assert loaded.origin[f"train.{key}"].startswith(source)

    def test_sections_merge_key_by_key(self, tmp_path):
        path = write(tmp_path, "train: {max_steps: 7}\nreward: {extra_weights: {mine: 1}}")
        loaded = load_config(preset="clinic", file=path, sets=["reward.extra_weights.yours=2"])
        assert loaded.config.train.max_steps == 7
        assert loaded.config.train.batch_size == 16
        assert loaded.config.reward.extra_weights == {"mine": 1.0, "yours": 2.0}
        assert loaded.origin["train.batch_size"] == "preset clinic"
        assert loaded.origin["reward.extra_weights.mine"] == str(path)

    def test_a_flag_that_was_not_given_changes_nothing(self):
        assert load_config(sets=["run.seed=3"], flags={"run.seed": None}).config.run.seed == 3

    def test_flags_are_named_as_the_command_line_spells_them(self):
        assert load_config(flags={"run.output_dir": Path("x")}).origin["run.output_dir"] == "--output-dir"


class TestAgents:
    def test_a_later_list_replaces_the_earlier_one(self, tmp_path):
        path = write(tmp_path, "team: {agents: [{name: solo}]}")
        loaded = load_config(preset="clinic", file=path)
        assert [agent.name for agent in loaded.config.team.agents] == ["solo"]
        assert loaded.config.team.agents[0].max_new_tokens == 256  # not the preset's planner's
        assert loaded.origin["team.agents.0.name"] == str(path)
        assert loaded.origin["team.agents.0.max_new_tokens"] == "default"
        assert not any(key.startswith("team.agents.1") for key in loaded.origin)

    @pytest.mark.parametrize("seat", ["1", "researcher"])
    def test_a_path_reaches_into_the_list(self, seat):
        loaded = load_config(preset="clinic", sets=[f"team.agents.{seat}.temperature=0.5"])
        assert [agent.temperature for agent in loaded.config.team.agents] == [1.0, 0.5, 1.0, 1.0]
        assert loaded.origin["team.agents.1.temperature"] == "--set"
        assert loaded.origin["team.agents.1.name"] == "preset clinic"

    def test_a_path_reaches_into_the_default_list(self):
        loaded = load_config(environ={"MAPORL_TEAM__AGENTS__ANALYST__TRAINED": "false"})
        assert [agent.trained for agent in loaded.config.team.agents] == [True, True, False, True]
        assert loaded.config.team.agents[2].name == "analyst"

    def test_the_whole_list_from_the_environment_is_there_before_a_path_reaches_in(self):
        loaded = load_config(
            environ={
                "MAPORL_TEAM__AGENTS__0__TEMPERATURE": "0.5",
                "MAPORL_TEAM__AGENTS": "[{name: a}, {name: b}]",
            }
        )
        assert [(agent.name, agent.temperature) for agent in loaded.config.team.agents] == [
            ("a", 0.5),
            ("b", 1.0),
        ]

    def test_one_agent_may_be_given_as_a_mapping(self):
        loaded = load_config(sets=["team.agents.planner={max_new_tokens: 9, temperature: 0.1}"])
        assert loaded.config.team.agents[0].max_new_tokens == 9
        assert loaded.config.team.agents[0].name == "planner"

    @pytest.mark.parametrize("seat", ["plannr", "4"])
    def test_an_absent_seat_is_an_error_that_names_those_there_are(self, seat):
        with pytest.raises(ConfigError, match="planner, researcher, analyst, reporter") as error:
            load_config(sets=[f"team.agents.{seat}.temperature=1"])
        assert error.value.where == "--set"

    def test_the_nearest_seat_is_named(self):
        with pytest.raises(ConfigError, match=r"did you mean team\.agents\.planner\?"):
            load_config(sets=["team.agents.plannr.temperature=1"])

    def test_two_agents_of_one_name(self):
        with pytest.raises(ConfigError, match="two agents are named 'a'"):
            load_config(sets=["team.agents=[{name: a}, {name: a}]"])

    def test_no_agent_takes_the_verifiers_name(self):
        with pytest.raises(ConfigError, match="no agent can be named 'verifier'") as error:
            load_config(sets=["team.agents=[{name: verifier}]"])
        assert "another name" in str(error.value)

    def test_a_bad_item_is_told_once(self):
        with pytest.raises(ConfigError) as error:
            load_config(sets=["team.agents=[{}]"])
        assert error.value.what == "team.agents.0.name is missing."
        assert error.value.where == "--set"

    def test_an_agent_without_a_name(self):
        with pytest.raises(ConfigError, match=r"team\.agents\.1\.name is missing"):
            load_config(sets=["team.agents=[{name: a}, {temperature: 1}]"])


class TestValues:
    @pytest.mark.parametrize(
        ("item", "value"),
        [
            ("run.name=2024", "2024"),  # a name, though YAML reads a number
            ("run.name=yes", "yes"),
            ("run.name=null", None),
            ("run.name=", None),
            ("train.learning_rate=3e-5", 3e-5),  # YAML 1.1 takes this for text
            ("train.max_steps=null", None),
            ("eval.baselines=[single]", ("single",)),
            ("data.train=a=b.jsonl", "a=b.jsonl"),
            ("train.guards=off", "off"),
            ("train.guards=stop", "stop"),
            (" train.batch_size =32", 32),
        ],
    )
    def test_text_becomes_what_the_key_holds(self, item, value):
        config = load_config(sets=[item, "train.per_device_train_batch_size=1"]).config
        section, key = item.partition("=")[0].strip().split(".")
        assert getattr(getattr(config, section), key) == value

    @pytest.mark.parametrize(
        ("item", "said"),
        [
            ("train.learning_rate=fast", "expected a number"),
            ("train.learning_rate=-1", "expected a number greater than 0"),
            ("train.learning_rate=.inf", "finite number"),
            ("train.learning_rate=.nan", "number"),
            ("train.max_steps=2.5", "expected a whole number"),
            ("train.max_steps=true", "other than true or false"),
            ("train.gradient_accumulation_steps=often", "'auto' or a whole number"),
            ("model.dtype=fp8", "'auto', 'fp32', 'bf16' or 'fp16'"),
            ("train.guards=perhaps", "'off', 'warn' or 'stop'"),
            ("train.guard_window=3", "greater than or equal to 4"),
            ("data.allow_test_set=perhaps", "expected true or false"),
            ("run.plugins=a.py", "a list, such as"),
            ("run.name=a/b", "expected text that matches"),
            ("train=3", "expected keys and values"),
            ("team.agents=3", "expected a list"),
            ("reward.extra_weights.mine=-1", "greater than or equal to 0"),
        ],
    )
    def test_an_unusable_value_names_the_key_the_value_and_what_is_expected(self, item, said):
        with pytest.raises(ConfigError) as error:
            load_config(sets=[item])
        key, _, value = item.partition("=")
        assert error.value.what.startswith(f"{key} cannot be ")
        assert value.strip(".").casefold() in error.value.what.casefold()
        assert said in error.value.why
        assert error.value.where == "--set"
        assert key in error.value.fix

    def test_several_unusable_values_are_told_at_once(self, tmp_path):
        path = write(tmp_path, "train: {clip_ratio: -1}")
        with pytest.raises(ConfigError) as error:
            load_config(file=path, sets=["train.max_steps=0"])
        assert "2 config values" in error.value.what
        assert f"train.clip_ratio is -1 ({path})" in error.value.why
        assert "train.max_steps is 0 (--set)" in error.value.why

    def test_text_that_is_no_yaml(self):
        with pytest.raises(ConfigError, match="not YAML"):
            load_config(sets=["run.name={"])

    @pytest.mark.parametrize("item", ["train.max_steps", "=3"])
    def test_a_set_without_a_value_is_bad_usage(self, item):
        with pytest.raises(UsageError) as error:
            load_config(sets=[item])
        assert error.value.exit_code == 2


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("key", "meant"),
        [
            ("train.learnin_rate", "train.learning_rate"),
            ("train.group_size", "rollout.group_size"),  # right name, another section
            ("learning_rate", "train.learning_rate"),
            ("modle.name", "model"),
            ("team.agents.0.temprature", "team.agents.0.temperature"),
        ],
    )
    def test_the_nearest_key_is_named(self, key, meant):
        with pytest.raises(ConfigError) as error:
            load_config(sets=[f"{key}=1"])
        assert f"did you mean {meant}?" in error.value.fix
        assert error.value.where == "--set"

    def test_in_the_environment_the_nearest_name_is_spelt_as_there(self):
        with pytest.raises(ConfigError) as error:
            load_config(environ={"MAPORL_TRAIN__LEARNIN_RATE": "1"})
        assert error.value.where == "environment MAPORL_TRAIN__LEARNIN_RATE"
        assert "MAPORL_TRAIN__LEARNING_RATE" in error.value.fix

    def test_in_a_file_the_file_is_named(self, tmp_path):
        path = write(tmp_path, "train:\n  learnin_rate: 1")
        with pytest.raises(ConfigError) as error:
            load_config(file=path)
        assert error.value.where == str(path)

    def test_nothing_near_lists_what_there_is(self):
        with pytest.raises(ConfigError, match="run, data, team"):
            load_config(sets=["zzqqxx=1"])

    def test_a_key_below_a_value(self):
        with pytest.raises(ConfigError, match=r"train\.batch_size is a value and holds no keys"):
            load_config(sets=["train.batch_size.more=1"])

    def test_reserved_and_foreign_names_are_left_alone(self):
        environ = {"MAPORL_DEBUG": "1", "MAPORL_DISPLAY": "plain", "PATH": "/bin", "MAPORLX": "1"}
        assert load_config(environ=environ).config == Config()


class TestPresets:
    def test_the_presets(self):
        assert preset_names() == ["clinic", "medxpert", "smollm2"]

    @pytest.mark.parametrize("name", ["clinic", "medxpert", "smollm2"])
    def test_each_loads_and_starts_with_the_command_that_runs_it(self, name):
        from maporl_cli.core.config_sources import preset_text

        assert preset_text(name).splitlines()[0].startswith(f"# maporl train --preset {name}")
        loaded = load_config(preset=name)
        assert loaded.origin["train.learning_rate"] == f"preset {name}"

    def test_the_guides_numbers(self):
        config = load_config(preset="medxpert").config
        assert len(config.team.agents) == 4
        assert config.model.name == "Qwen/Qwen2.5-0.5B-Instruct"
        assert (config.model.dtype, config.model.gradient_checkpointing) == ("fp16", True)
        assert (config.train.learning_rate, config.train.batch_size, config.train.num_epochs) == (3e-5, 8, 15)
        assert config.team.max_rounds_per_episode == 4
        assert (config.reward.medxpert_accuracy_weight, config.reward.safety_penalty_weight) == (2.0, 3.0)
        assert config.train.per_device_train_batch_size == 4
        assert config.train.gradient_accumulation_steps == "auto"
        assert config.data.dataloader_num_workers == 8

    def test_the_real_models_numbers(self):
        config = load_config(preset="smollm2").config
        assert (config.model.name, config.model.finetune) == ("smollm2-135m", "lora")
        assert (config.train.batch_size, config.rollout.group_size, config.train.max_steps) == (2, 4, 40)
        assert [agent.max_new_tokens for agent in config.team.agents] == [24] * 4
        assert config.team.max_rounds_per_episode == 1

    def test_the_built_in_benchmarks_reward(self):
        reward = load_config(preset="clinic").config.reward
        assert {key: value for key, value in reward.weights.model_dump().items() if value} == {
            "accuracy": 1.0
        }
        assert reward.format_weight == 0.2

    def test_an_unknown_preset_names_those_there_are(self):
        with pytest.raises(ConfigError, match="clinic, medxpert, smollm2") as error:
            load_config(preset="clinc")
        assert error.value.fix == "--preset clinic"

    def test_a_file_given_as_a_preset(self):
        with pytest.raises(ConfigError) as error:
            load_config(preset="my.yaml")
        assert error.value.fix == "--config my.yaml"


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("train: [", "not YAML"),
            ("- a\n- b", "holds a list"),
            ("just words", "holds a str"),
            ("train: {max_steps: 1, max_steps: 2}", "given twice"),
            ("train:\n- 1", "expected keys and values"),
        ],
    )
    def test_a_file_that_is_no_config(self, text, said, tmp_path):
        path = write(tmp_path, text)
        with pytest.raises(ConfigError, match=said) as error:
            load_config(file=path)
        assert str(path) in error.value.message

    def test_the_line_of_a_yaml_error_is_named(self, tmp_path):
        path = write(tmp_path, "run:\n  seed: 1\n  name: 'x\n")
        with pytest.raises(ConfigError) as error:
            load_config(file=path)
        assert "line 4" in error.value.where

    def test_an_absent_file(self, tmp_path):
        with pytest.raises(ConfigError, match="There is no config file"):
            load_config(file=tmp_path / "none.yaml")

    def test_a_directory(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(file=tmp_path)

    def test_bytes_that_are_no_text(self, tmp_path):
        (tmp_path / "my.yaml").write_bytes(b"run: \xff\xfe")
        with pytest.raises(ConfigError, match="not UTF-8"):
            load_config(file=tmp_path / "my.yaml")

    @pytest.mark.parametrize("text", ["", "# nothing\n", "train:\n"])
    def test_an_empty_file_or_section_sets_nothing(self, text, tmp_path):
        assert load_config(file=write(tmp_path, text)).config == Config()


class TestDump:
    @pytest.mark.parametrize("name", [None, *preset_names()])
    @pytest.mark.parametrize("with_origin", [True, False])
    def test_what_is_written_reads_back_equal(self, name, with_origin, tmp_path):
        loaded = load_config(preset=name, sets=["run.name=2024", "run.plugins=['a # b.py']"])
        path = write(tmp_path, to_yaml(loaded.config, loaded.origin if with_origin else None))
        assert load_config(file=path).config == loaded.config

    @settings(max_examples=60)
    @given(
        st.text(max_size=30),
        st.floats(1e-30, 1e30),
        st.dictionaries(st.text(max_size=8), st.floats(0, 9), max_size=3),
    )
    def test_any_text_number_and_name_survives(self, text, number, table):
        config = Config.model_validate(
            {"data": {"eval": text}, "train": {"kl_coeff": number}, "reward": {"extra_weights": table}}
        )
        assert Config.model_validate(yaml.safe_load(to_yaml(config))) == config

    def test_every_value_has_an_origin_and_shows_it(self):
        loaded = load_config(preset="clinic", sets=["train.max_steps=3"])
        assert list(loaded.origin) == list(flat(loaded.config))
        text = to_yaml(loaded.config, loaded.origin)
        assert "  max_steps: 3  # --set\n" in text
        assert "    - name: planner  # preset clinic\n" in text
        assert "  seed: 0  # default\n" in text


def test_a_bad_item_of_a_list_is_told_as_an_item():
    with pytest.raises(ConfigError, match=r"An item of eval\.baselines cannot be 'singel'") as caught:
        load_config(preset="clinic", sets=["eval.baselines=[singel]"])
    assert caught.value.fix == "let every item of eval.baselines be 'single' or 'reporter_alone'"
