"""What `maporl train` and `maporl config` ask of the layers below, and what they print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from maporl_cli.cli import options
from maporl_cli.core.config_sources import load_config, preset_names
from maporl_cli.core.run_dir import RunDir

DONE = {
    "event": "done",
    "run": "runs/demo",
    "steps": 3,
    "eval": {
        "before": {"accuracy": 0.2, "sampled": 0.19, "n": 480},
        "after": {"accuracy": 0.9, "sampled": 0.85, "n": 480},
        "single": {"accuracy": 0.5, "n": 480},
    },
}


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[dict[str, Any]]:
    """What the worker was called with; nothing is trained, and nothing heavy imported."""
    calls: list[dict[str, Any]] = []
    worker = ModuleType("maporl_cli.worker")
    worker.train = lambda config, **named: calls.append({"config": config, **named}) or DONE  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "maporl_cli.worker", worker)
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.fixture
def maporl(monkeypatch, capfd):
    """Runs a command line: its exit code, stdout and stderr."""

    def maporl(*arguments: str) -> tuple[int, str, str]:
        from maporl_cli.cli.main import main

        monkeypatch.setattr(sys, "argv", ["maporl", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return maporl


class TestTrain:
    @pytest.mark.parametrize(
        "where", [[], ["local"], ["--on", "local"], ["local", "--on", "local"]], ids=" ".join
    )
    def test_here_with_the_default_preset(self, where, asked, maporl):
        code, _, _ = maporl("train", *where)
        assert code == 0
        (call,) = asked
        assert call["config"] == load_config(preset="clinic").config
        assert (call["resume"], call["overwrite"], call["display"]) == (False, False, "plain")
        assert call["command"] == " ".join(["maporl", "train", *where])

    def test_every_flag_arrives(self, asked, maporl):
        code, _, _ = maporl(
            *("train", "--preset", "smollm2", "--name", "x", "--output-dir", "out", "--seed", "7"),
            *("--set", "train.max_steps=3", "--set", "run.seed=1", "--overwrite", "--display", "none"),
        )
        assert code == 0
        config = asked[0]["config"]
        assert (config.run.name, config.run.output_dir, config.run.seed) == ("x", Path("out"), 7)
        assert (config.model.name, config.train.max_steps) == ("smollm2-135m", 3)
        assert (asked[0]["overwrite"], asked[0]["display"]) == (True, "none")

    def test_below_a_file_lies_no_preset(self, asked, maporl):
        Path("my.yaml").write_text("train: {max_steps: 3}")
        maporl("train", "--config", "my.yaml")
        maporl("train", "--config", "my.yaml", "--preset", "clinic")
        assert [call["config"].team.roles for call in asked] == ["guide", "clinic"]
        assert [call["config"].train.max_steps for call in asked] == [3, 3]

    def test_the_environment_arrives(self, asked, maporl, monkeypatch):
        monkeypatch.setenv("MAPORL_TRAIN__MAX_STEPS", "5")
        maporl("train")
        assert asked[0]["config"].train.max_steps == 5

    def test_the_outcome_for_people_ends_with_the_run(self, asked, maporl):
        _, out, err = maporl("train")
        lines = out.splitlines()
        assert lines[-1] == "run: runs/demo"
        assert lines[1].split() == ["before", "0.200", "0.190", "480"]
        assert lines[3].split() == ["single", "0.500", "–", "480"]
        assert err == ""

    def test_a_profile_shows_where_the_time_went_above_the_outcome(self, asked, maporl, monkeypatch):
        spent = {"rank": 0, "seconds": 4.0, "phases": {"other": {"seconds": 4.0, "parts": {}}}}
        monkeypatch.setitem(DONE, "profile", [spent])
        _, out, _ = maporl("train", "--profile", "--display", "none")
        assert asked[0]["profile"]
        lines = out.splitlines()
        assert lines[0].split() == ["seconds", "in", "rank", "0"]
        assert [line.split() for line in lines[2:4]] == [["other", "4.0", "100%"], ["run", "4.0", "100%"]]
        assert lines[-1] == "run: runs/demo"
        _, out, _ = maporl("train", "--profile", "--json")
        assert json.loads(out)["profile"] == [spent]

    def test_the_outcome_for_programs_is_one_json_line(self, asked, maporl):
        _, out, _ = maporl("train", "--json")
        assert json.loads(out) == DONE

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["sagemaker", "--on", "local"], 2, "--on sagemaker"),
            (["local", "--on", "sagemaker"], 2, "--on local"),
            (["--resume", "--overwrite"], 2, "one of the two"),
            (["--set", "train.learnin_rate=1"], 3, "train.learning_rate"),
            (["--preset", "clinc"], 3, "--preset clinic"),
            (["--world-size", "8"], 2, "maporl train --dry-run --world-size 8"),
            (["--resume"], 2, "--resume --name NAME"),
            (["--resume", "--name", "none"], 3, "There is no run runs/none"),
            (["--name", "a/b"], 3, "run.name cannot be 'a/b'"),
        ],
    )
    def test_what_has_no_meaning_is_refused(self, arguments, code, said, asked, maporl):
        ended, out, err = maporl("train", *arguments)
        assert ended == code
        assert said in err
        assert "\nFix: " in err
        assert "Traceback" not in err
        assert out == ""
        assert asked == []


class TestResume:
    @pytest.fixture(autouse=True)
    def _a_run(self, asked):
        sets = ["train.max_steps=9", "team.agents.planner.temperature=0.5"]
        RunDir.open_new(load_config(preset="clinic", sets=sets, flags={"run.name": "demo"}).config)

    def test_a_run_goes_on_with_its_own_config(self, asked, maporl):
        code, _, err = maporl("train", "--resume", "--name", "demo")
        assert (code, err) == (0, "")
        assert asked[0]["config"] == RunDir.existing(Path("runs/demo")).load_config()
        assert asked[0]["resume"] is True

    def test_later_sources_still_win_over_it(self, asked, maporl):
        maporl("train", "--resume", "--name", "demo", "--set", "train.save_every=2")
        assert asked[0]["config"].train.save_every == 2
        assert asked[0]["config"].train.max_steps == 9

    def test_a_moved_run_is_found_by_its_place(self, asked, maporl, monkeypatch):
        Path("runs").rename("elsewhere")
        maporl("train", "--resume", "--name", "demo", "--output-dir", "elsewhere")
        monkeypatch.setenv("MAPORL_RUN__OUTPUT_DIR", "elsewhere")
        maporl("train", "--resume", "--set", "run.name=demo")
        assert [call["config"].run.output_dir for call in asked] == [Path("elsewhere")] * 2
        assert [call["config"].train.max_steps for call in asked] == [9, 9]

    def test_with_a_preset_it_is_the_presets_config(self, asked, maporl):
        maporl("train", "--resume", "--name", "demo", "--preset", "clinic")
        assert asked[0]["config"].train.max_steps != 9

    def test_the_runs_there_are_are_named(self, maporl):
        assert "demo" in maporl("train", "--resume")[2]


class TestConfigShow:
    def test_it_shows_each_value_with_its_origin(self, maporl):
        code, out, _ = maporl("config", "show", "--set", "train.max_steps=3")
        assert code == 0
        assert "  max_steps: 3  # --set\n" in out
        assert "  roles: clinic  # preset clinic\n" in out

    def test_it_is_itself_a_config(self, maporl, tmp_path):
        (tmp_path / "my.yaml").write_text(maporl("config", "show", "--preset", "medxpert")[1])
        assert load_config(file=tmp_path / "my.yaml").config == load_config(preset="medxpert").config

    def test_as_json(self, maporl):
        told = json.loads(maporl("config", "show", "--json", "--preset", "smollm2")[1])
        assert told["config"] == load_config(preset="smollm2").config.model_dump(mode="json")
        assert told["origin"]["model.name"] == "preset smollm2"


def test_the_help_names_every_preset():
    text = options.Preset.__metadata__[0].help
    assert all(name in text for name in preset_names())
