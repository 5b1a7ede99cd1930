"""A run is never lost by accident, and never continued as something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maporl_cli.core import run_dir
from maporl_cli.core.config import Config, SageMakerConfig
from maporl_cli.core.config_sources import flat, load_config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import RunDir, changed_science_fields, run_names


def config_for(folder: Path, *sets: str, name: str | None = "demo", preset: str | None = "clinic") -> Config:
    flags = {"run.name": name, "run.output_dir": folder}
    return load_config(preset=preset, sets=sets, flags=flags).config


class TestOpenNew:
    def test_it_holds_a_config_that_runs_again(self, tmp_path):
        config = config_for(tmp_path / "runs")
        run = RunDir.open_new(config)
        assert run.path == tmp_path / "runs" / "demo"
        assert load_config(file=run.config).config == config
        assert run.load_config() == config
        assert run.config.read_text().startswith("# maporl train --config ")

    def test_a_run_without_a_name_is_named_after_its_data(self, tmp_path):
        config = config_for(tmp_path, "data.train=my/questions.jsonl", name=None)
        run = RunDir.open_new(config)
        assert run.path.name.startswith("questions-2")
        assert run.load_config().run.name == run.path.name

    @pytest.mark.parametrize("data", ["my questions (1).jsonl", "Fragen für März.json", "…/…", "a" * 200])
    def test_a_name_made_of_any_file_names_a_run_that_can_be_used_again(self, data, tmp_path):
        run = RunDir.open_new(config_for(tmp_path, f"data.train={data}", name=None))
        assert RunDir.existing(run.path).load_config().run.name == run.path.name

    def test_an_existing_run_is_refused(self, tmp_path):
        config = config_for(tmp_path)
        (RunDir.open_new(config).path / "metrics.jsonl").write_text("{}")
        with pytest.raises(ConfigError, match="exists") as error:
            RunDir.open_new(config)
        assert error.value.exit_code == 3
        assert "--resume" in error.value.fix
        assert "--overwrite" in error.value.fix
        assert (tmp_path / "demo" / "metrics.jsonl").read_text() == "{}"

    def test_overwrite_leaves_nothing_of_the_old_run(self, tmp_path):
        (RunDir.open_new(config_for(tmp_path)).path / "metrics.jsonl").write_text("{}")
        run = RunDir.open_new(config_for(tmp_path, "train.max_steps=3"), overwrite=True)
        assert [path.name for path in run.path.iterdir()] == ["config.yaml"]
        assert run.load_config().train.max_steps == 3
        assert [path.name for path in tmp_path.iterdir()] == ["demo"]

    def test_an_overwrite_that_was_killed_is_finished_by_the_next(self, tmp_path):
        (tmp_path / f".gone-{os.getpid()}-0123abcd.demo").mkdir()
        RunDir.open_new(config_for(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["demo"]

    @pytest.mark.parametrize("overwrite", [True, False])
    def test_what_is_no_run_is_never_deleted(self, overwrite, tmp_path):
        (tmp_path / "demo").mkdir()
        (tmp_path / "demo" / "thesis.tex").write_text("x")
        with pytest.raises(ConfigError, match="no run"):
            RunDir.open_new(config_for(tmp_path), overwrite=overwrite)
        assert (tmp_path / "demo" / "thesis.tex").read_text() == "x"

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "demo").write_text("x")
        with pytest.raises(ConfigError, match="in the way"):
            RunDir.open_new(config_for(tmp_path), overwrite=True)

    def test_an_output_dir_that_is_a_file(self, tmp_path):
        (tmp_path / "runs").write_text("x")
        with pytest.raises(ConfigError, match="is a file"):
            RunDir.open_new(config_for(tmp_path / "runs"))

    def test_an_empty_directory_and_one_killed_at_birth_are_free(self, tmp_path):
        (tmp_path / "demo").mkdir()
        (tmp_path / "demo" / f".new-{os.getpid()}-0123abcd.config.yaml").write_text("half")
        run = RunDir.open_new(config_for(tmp_path))
        assert [path.name for path in run.path.iterdir()] == ["config.yaml"]

    def test_no_permission(self, tmp_path, monkeypatch):
        def refuse(*arguments, **named):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(MissingError, match="cannot be written") as error:
            RunDir.open_new(config_for(tmp_path / "runs"))
        assert error.value.exit_code == 4


class TestForResume:
    def test_it_cleans_and_keeps(self, tmp_path):
        config = config_for(tmp_path)
        run = RunDir.open_new(config)
        run.metrics.write_text("{}\n")
        (run.path / f".new-{os.getpid()}-0123abcd.x").write_text("half")
        again = RunDir.for_resume(config)
        assert again == run
        assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "metrics.jsonl"]

    def test_a_changed_science_field_is_refused_by_name(self, tmp_path):
        RunDir.open_new(config_for(tmp_path))
        changed = config_for(tmp_path, "train.clip_ratio=0.3", "team.agents.planner.temperature=0.7")
        with pytest.raises(ConfigError, match=r"team\.agents\.0\.temperature, train\.clip_ratio"):
            RunDir.for_resume(changed)
        assert RunDir.existing(tmp_path / "demo").load_config() == config_for(tmp_path)

    def test_what_is_no_science_may_change_and_is_written_down(self, tmp_path):
        RunDir.open_new(config_for(tmp_path))
        changed = config_for(tmp_path, "train.save_every=3", "monitoring.wandb_mode=offline")
        assert RunDir.for_resume(changed).load_config() == changed

    def test_an_absent_run_names_the_nearest(self, tmp_path):
        RunDir.open_new(config_for(tmp_path, name="demo2"))
        with pytest.raises(ConfigError, match=r"did you mean .*demo2"):
            RunDir.for_resume(config_for(tmp_path, name="demo"))

    def test_without_a_name(self, tmp_path):
        with pytest.raises(ConfigError, match="which run"):
            RunDir.for_resume(config_for(tmp_path, name=None))

    def test_a_damaged_config(self, tmp_path):
        run = RunDir.open_new(config_for(tmp_path))
        run.config.write_text("train: [")
        with pytest.raises(ConfigError, match="not YAML"):
            RunDir.for_resume(config_for(tmp_path))

    def test_a_config_of_another_version(self, tmp_path):
        run = RunDir.open_new(config_for(tmp_path))
        run.config.write_text("train: {no_longer: 1}")
        with pytest.raises(ConfigError, match=r"train\.no_longer") as error:
            run.load_config()
        assert str(run.config) in error.value.message


def test_run_names(tmp_path):
    RunDir.open_new(config_for(tmp_path, name="b"))
    RunDir.open_new(config_for(tmp_path, name="a"))
    (tmp_path / "other").mkdir()
    assert run_names(tmp_path) == ["a", "b"]
    assert run_names(tmp_path / "none") == []


class TestScience:
    FREE = (
        "run.name",
        "run.output_dir",
        "monitoring.wandb_mode",
        "monitoring.wandb_project",
        "monitoring.wandb_tags",
        "train.save_every",
        "train.keep_checkpoints",
        "train.guards",
        "train.guard_window",
        "data.dataloader_num_workers",
        "placement.timeout",
        "eval.batch_size",
        "eval.endpoint_timeout",
        "eval.zero_shot_max_new_tokens",
        "rollout.microbatches",
        "train.per_device_train_batch_size",
        "train.gradient_accumulation_steps",
        "model.gradient_checkpointing",
        # Where a job runs, and what it may cost.
        *(f"sagemaker.{key}" for key in SageMakerConfig.model_fields),
        # What a search tries: each of its runs has one value.
        *(name for name in flat(Config()) if name.startswith("tune.")),
    )

    def test_exactly_the_free_keys_may_change(self):
        """Every other key counts as science, also one that is added tomorrow."""
        names = list(flat(Config()))
        assert set(self.FREE) <= set(names)
        for name in names:
            other = Config().model_dump(mode="json")
            # Of what `maporl tune` searches, a name is itself a dotted key.
            space, of_space, searched = name.partition("tune.space.")
            *path, key = ["tune", "space", searched] if of_space else space.split(".")
            into = other
            for part in path:
                into = into[int(part)] if isinstance(into, list) else into[part]
            into[key] = "something else"
            found = changed_science_fields(Config(), _Raw(other))
            assert found == ([] if name in self.FREE else [name])

    def test_a_shorter_team(self):
        small = load_config(sets=["team.agents=[{name: planner}]"]).config
        changed = changed_science_fields(Config(), small)
        assert "team.agents.3.name" in changed
        assert all(name.startswith("team.agents.") for name in changed)

    def test_equal_configs(self):
        assert changed_science_fields(Config(), Config()) == []


class _Raw:
    """Stands for a config with values that need not be valid."""

    def __init__(self, values):
        self.values = values

    def model_dump(self, mode):
        return self.values


def test_the_paths(tmp_path):
    run = RunDir(tmp_path)
    told = run_dir.__doc__
    for name, value in vars(RunDir).items():
        if isinstance(value, property):
            assert getattr(run, name).name in told
