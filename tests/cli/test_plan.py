"""`maporl train --dry-run`: what is planned, on how many ranks, whether it fits, and what to change."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from profiles import profile, write_profile
from support import tiny_policy

from maporl_cli.backends import here
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.config_yaml import to_yaml
from maporl_cli.training import fit
from maporl_cli.training.fit import Device

GB = 10**9
TEAM = ["planner", "researcher", "analyst", "reporter"]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path) -> None:
    """An empty directory, a machine with plenty of RAM and no models, and no training by accident."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a dry run trained")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no cache"))
    monkeypatch.setattr(here, "train_here", refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    has(monkeypatch, Device("RAM", 64 * GB, shared=True))


def has(monkeypatch, device: Device) -> None:
    monkeypatch.setattr(fit, "device_at_hand", lambda: device)


@pytest.fixture
def dry_run(monkeypatch, capfd):
    """Plans a training: its exit code, stdout and stderr."""

    def dry_run(*arguments: str) -> tuple[int, str, str]:
        from maporl_cli.cli.main import main

        monkeypatch.setattr(sys, "argv", ["maporl", "train", "--dry-run", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return dry_run


def test_many_ranks_are_planned_soon_and_too_many_are_refused(dry_run):
    began = time.monotonic()
    sets = ("--set", "train.batch_size=1024", "--set", "train.per_device_train_batch_size=1")
    code, out, err = dry_run("--preset", "clinic", "--world-size", "4096", *sets)
    assert code == 0, err
    assert "replicas 1 to 1023 are like it" in out
    assert time.monotonic() - began < 20, "every rank of a seat needs the same, looked up once"
    code, _, err = dry_run("--preset", "clinic", "--world-size", "1000000")
    assert code == 2
    assert "Fix: --world-size 16384 or less" in err


@pytest.fixture
def plan(dry_run):
    """The plan for programs."""

    def plan(*arguments: str) -> dict[str, Any]:
        code, out, err = dry_run("--json", *arguments)
        assert (code, err) == (0, "")
        return json.loads(out)

    return plan


@pytest.fixture
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_policy(1).save(path)
    return path


def comments(out: str) -> list[str]:
    """What is said below the config."""
    lines = out.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("# ") and " steps of " in line)
    assert all(line.startswith("#") for line in lines[first:])
    return [line.removeprefix("# ") for line in lines[first:]]


def rows(out: str) -> list[list[str]]:
    """The cells of the table, a row a rank."""
    lines = [line.split() for line in comments(out)]
    return [line for line in lines if len(line) > 3 and line[0].isdigit() and line[3] in TEAM]


class TestConfigAndArithmetic:
    def test_it_shows_the_arithmetic_and_changes_nothing(self, dry_run, tmp_path):
        code, out, _ = dry_run("--set", "train.per_device_train_batch_size=32")
        assert code == 0
        steps = load_config(preset="clinic").config.train.max_steps
        assert comments(out)[0] == f"{steps} steps of 16 questions × 8 = 128 episodes, 4 × 32 at a time"
        assert list(tmp_path.iterdir()) == []

    def test_a_comb_is_a_spine_and_the_siblings_of_its_places(self, dry_run, plan):
        sets = ("--set", "rollout.sampling=comb", "--set", "train.per_device_train_batch_size=32")
        told = comments(dry_run(*sets)[1])
        assert "16 questions × (1 spine + 4 places × 7 siblings) = 464 episodes" in told[0]
        assert told[1] == "early; an agent learns from 4 × 32 turns at a time"
        assert not any("--rates" in line for line in told)
        found = plan(*sets)["batch"]
        assert (found["episodes"], found["gradient_accumulation_steps"]) == (464, 4)

    def test_rules_that_do_not_combine_are_refused_before_anything_is_planned(self, dry_run):
        code, out, err = dry_run("--set", "rollout.sampling=comb", "--set", "train.credit=leave_one_out")
        assert (code, out) == (3, "")
        assert "Fix: --set rollout.sampling=chain, or --set train.credit=team" in err

    def test_what_it_prints_is_a_config(self, dry_run):
        Path("my.yaml").write_text(dry_run("--world-size", "4")[1])
        assert load_config(file=Path("my.yaml")).config == load_config(preset="clinic").config

    def test_what_is_set_in_vain_is_said(self, plan, dry_run):
        sets = ("--set", "train.credit=influence")
        (told,) = plan(*sets)["cautions"]
        assert "team.max_rounds_per_episode=2" in told
        assert f"Caution: {told}." in " ".join(comments(dry_run(*sets)[1]))
        assert plan(*sets, "--set", "team.max_rounds_per_episode=2")["cautions"] == []
        assert plan()["cautions"] == []

    def test_epochs_become_steps(self, plan):
        questions = [{"id": str(n), "question": f"Question {n}?", "answer": f"word{n}"} for n in range(50)]
        for name, part in (("train.jsonl", questions[:40]), ("eval.jsonl", questions[40:])):
            Path(name).write_text("".join(json.dumps(row) + "\n" for row in part))
        found = plan(
            *("--set", "train.max_steps=null", "--set", "train.num_epochs=3"),
            *("--set", "data.train=train.jsonl", "--set", "data.eval=eval.jsonl"),
        )
        assert found["event"] == "plan"
        assert found["batch"]["steps"] == 8  # 3 × 40 / 16, rounded up
        assert (found["batch"]["episodes"], found["batch"]["gradient_accumulation_steps"]) == (128, 1)
        assert found["origin"]["train.num_epochs"] == "--set"
        assert found["config"]["train"]["num_epochs"] == 3

    def test_replicas_share_the_passes(self, dry_run, plan):
        sets = ("--world-size", "8", "--set", "train.per_device_train_batch_size=32")
        assert plan(*sets)["batch"]["gradient_accumulation_steps"] == 2
        assert comments(dry_run(*sets)[1])[0].endswith("2 × 32 at a time, on each of 2 replicas")


class TestPlacement:
    def test_all_agents_on_one_rank(self, plan):
        placement = plan()["placement"]
        assert (placement["world_size"], placement["hosts"], placement["replicas"]) == (1, 1, 1)
        assert placement["ranks"] == [{"rank": 0, "host": 0, "replica": 0, "agents": TEAM}]

    @pytest.mark.parametrize("option", ["--nproc", "--world-size"])
    def test_a_size_that_is_not_at_hand(self, option, plan):
        ranks = plan(option, "8", "--set", "train.per_device_train_batch_size=64")["placement"]["ranks"]
        assert [rank["agents"] for rank in ranks] == [[name] for name in TEAM] * 2
        assert [rank["replica"] for rank in ranks] == [0] * 4 + [1] * 4

    def test_world_size_goes_before_nproc(self, plan):
        assert plan("--nproc", "2", "--world-size", "4")["placement"]["world_size"] == 4

    def test_hosts_have_as_many_gpus_as_this_one(self, monkeypatch, plan):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        has(monkeypatch, Device("GPU", 24 * GB, shared=False))
        assert [rank["host"] for rank in plan("--world-size", "4")["placement"]["ranks"]] == [0, 0, 1, 1]

    @pytest.mark.parametrize(
        ("arguments", "fix"),
        [
            (["--world-size", "3"], "use 1, 2, 4"),
            (["--world-size", "12"], "train.batch_size"),
            (["--world-size", "8", "--set", "train.gradient_accumulation_steps=1"], "auto"),
        ],
    )
    def test_a_size_that_cannot_be(self, arguments, fix, dry_run):
        code, out, err = dry_run(*arguments)
        assert (code, out) == (3, "")
        assert fix in err.splitlines()[-1]
        assert err.splitlines()[-1].startswith("Fix: ")


class TestMemory:
    def test_a_row_a_rank(self, dry_run, plan):
        found = plan("--world-size", "4")["memory"]["ranks"]
        shown = rows(dry_run("--world-size", "4")[1])
        assert [row[:4] for row in shown] == [[str(rank), "0", "0", name] for rank, name in enumerate(TEAM)]
        assert all(row[-1] == "fits" for row in shown)
        first = found[0]
        held = first["process"] + first["model"] + first["optimizer"]
        assert first["peak"] == held + max(first["activations"], first["cache"], first["step"])
        assert shown[0][-3:-1] == [f"{first['peak'] / GB:.1f}", "GB"]

    def test_one_rank_holds_what_four_would(self, plan):
        one = plan()["memory"]["ranks"]
        four = plan("--world-size", "4")["memory"]["ranks"]
        for part in ("model", "optimizer"):
            assert one[0][part] == sum(rank[part] for rank in four)

    def test_what_is_assumed_of_prompts_is_said(self, dry_run, plan):
        assert plan()["memory"]["prompt_tokens"]["researcher"] == 500
        assert "prompts of 500 to 504 tokens" in dry_run()[1]

    def test_all_ranks_of_a_host_share_its_ram(self, dry_run, plan):
        found = plan("--world-size", "4")["memory"]
        assert found["phases"]["team"]["load"] == sum(rank["peak"] for rank in found["ranks"])
        assert "All ranks of a host share its RAM" in dry_run("--world-size", "4")[1]

    def test_each_rank_has_its_gpu(self, monkeypatch, dry_run, plan):
        has(monkeypatch, Device("NVIDIA A10G", 24 * GB, shared=False))
        found = plan("--world-size", "4")["memory"]
        assert found["phases"]["team"]["load"] == max(rank["peak"] for rank in found["ranks"])
        assert found["device"]["name"] == "NVIDIA A10G"
        _, out, _ = dry_run("--world-size", "4")
        assert "NVIDIA A10G, 24.0 GB" in " ".join(out.split())
        assert rows(out)[3][-1] == "fits"

    def test_the_weights_of_the_team_stay_while_a_baseline_trains(self, plan, dry_run):
        sets = ("--set", "train.kl_coeff=0.05", "--set", "train.per_device_train_batch_size=1")
        phases = plan(*sets, "--set", "eval.baselines=[single]")["memory"]["phases"]
        assert list(phases) == ["team", "single"]
        assert "Baseline single" in dry_run("--set", "eval.baselines=[single]")[1]
        alone = plan(*sets, "--set", "eval.baselines=[]", "--world-size", "4")["memory"]["ranks"][3]
        weights = alone["model"] + alone["optimizer"] // 3  # gradients and two moments, of one size
        four = 4 * weights
        assert phases["single"]["load"] == pytest.approx(alone["peak"] + four, abs=1000)

    def test_of_many_ranks_one_replica_is_shown(self, dry_run, plan):
        sets = ("--world-size", "32", "--set", "train.per_device_train_batch_size=16")
        _, out, _ = dry_run(*sets)
        assert [row[0] for row in rows(out)] == ["0", "1", "2", "3"]
        assert "replicas 1 to 7 are like it" in out
        assert len(plan(*sets)["memory"]["ranks"]) == 32

    def test_fp16_without_a_gpu_is_planned_and_not_judged(self, model, dry_run, plan):
        sets = ("--set", f"model.name={model}", "--set", "model.dtype=fp16")
        found = plan(*sets)["memory"]
        assert found["device"] is None
        assert found["phases"]["team"]["fits"] is None
        assert found["ranks"][0]["peak"] > 0
        assert "(model.dtype=fp16 needs a GPU): compare the peaks" in dry_run(*sets)[1]

    @pytest.mark.parametrize("name", ["smollm2-135m", "nobody/has-this-model"])
    def test_a_model_that_is_not_here_is_named_with_how_to_get_it(self, name, dry_run, plan, tmp_path):
        sets = ("--set", f"model.name={name}", "--set", "eval.baselines=[]")
        code, out, _ = dry_run(*sets)
        assert code == 0
        assert comments(out)[-1] == f"Fix: maporl model pull {name}"
        assert f"maporl model pull {name}" in plan(*sets)["memory"]["unknown"]
        assert list(tmp_path.iterdir()) == []

    def test_a_team_that_cannot_be_built_is_told_in_the_tables_place(self, dry_run):
        code, out, _ = dry_run("--set", "model.finetune=lora")
        assert code == 0
        assert "Tiny policies are trained whole" in out
        assert comments(out)[-1].startswith("Fix: ")


class TestWhatDoesNotFit:
    def test_what_it_says_to_set_is_enough(self, monkeypatch, model, dry_run, plan):
        has(
            monkeypatch, Device("NVIDIA RTX 6000 Ada Generation, as a name may be long", 1 * GB, shared=False)
        )
        base = ["--set", f"model.name={model}", "--set", "eval.batch_size=16"]
        assert plan(*base)["memory"]["phases"]["team"]["fits"] is False
        code, out, _ = dry_run(*base)
        fix = comments(out)[-1]
        assert code == 0
        assert all(row[-3:] == ["does", "not", "fit"] for row in rows(out))
        assert fix.startswith("Fix: --set ")
        after = plan(*base, *shlex.split(fix.removeprefix("Fix: ")))["memory"]
        assert all(phase["fits"] for phase in after["phases"].values())
        assert after["advice"] is None

    def test_what_dominates_is_lowered_first(self, monkeypatch, model, plan):
        has(monkeypatch, Device("GPU", 3 * GB, shared=False))
        small = ["--set", f"model.name={model}", "--set", "eval.baselines=[]"]
        passes = plan(
            *small, "--set", "train.batch_size=64", "--set", "train.per_device_train_batch_size=512"
        )
        assert next(iter(passes["memory"]["advice"]["changes"])) in (
            "model.gradient_checkpointing",
            "train.per_device_train_batch_size",
        )
        calls = plan(*small, "--set", "train.per_device_train_batch_size=1", "--set", "eval.batch_size=4096")
        assert set(calls["memory"]["advice"]["changes"]) == {"eval.batch_size"}

    @pytest.mark.parametrize(
        ("device", "ranks", "way"),
        [
            (Device("GPU", GB // 2, shared=False), 1, "a GPU for each agent (--nproc)"),
            (Device("RAM", GB // 2, shared=True), 4, "fewer ranks on a host (--nproc)"),
        ],
    )
    def test_where_no_setting_is_enough(self, device, ranks, way, monkeypatch, dry_run, plan):
        has(monkeypatch, device)
        sets = ("--world-size", str(ranks), "--set", "eval.baselines=[]")
        assert plan(*sets)["memory"]["advice"]["fits"] is False
        fix = comments(dry_run(*sets)[1])[-1]
        assert fix.startswith("Fix: use a smaller model.name")
        assert way in fix


class TestTime:
    @pytest.fixture
    def run(self, tmp_path) -> Path:
        """A run of the preset, two steps long, with a profile."""
        run = tmp_path / "runs" / "measured"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(to_yaml(load_config(preset="clinic").config))
        write_profile(run / "profile.json", profile(TEAM))
        return run

    def test_without_a_run_it_says_how_to_learn_it(self, dry_run, plan):
        assert plan()["time"] is None
        assert any("--rates runs/NAME" in line for line in comments(dry_run()[1]))

    def test_a_step_and_what_all_of_them_cost(self, run, dry_run, plan):
        """128 episodes: 1 + 128/2 seconds an agent, and an eighth to take note of each."""
        steps = load_config(preset="clinic").config.train.max_steps
        sets = ("--rates", str(run), "--rank-price", "2")
        time = plan(*sets)["time"]
        assert time["rollout"] == pytest.approx(4 * 65 + 4 * 1 / 8)
        parts = ("rollout", "reward", "update", "summing", "results")
        assert time["seconds"] == pytest.approx(sum(time[part] for part in parts))
        assert time["training_seconds"] == pytest.approx(time["seconds"] * steps)
        assert time["rank_hours"] == pytest.approx(time["training_seconds"] / 3600)
        assert time["dollars"] == pytest.approx(2 * time["rank_hours"])
        told = " ".join(comments(dry_run(*sets)[1]))
        assert f"a step takes {time['seconds']:.3g} s" in told
        assert f"${time['dollars']:,.2f}" in told

    def test_ranks_wait_and_cost(self, run, dry_run, plan):
        sets = ("--rates", str(run), "--world-size", "4", "--set", "rollout.microbatches=4")
        one, four = plan(*sets[:2])["time"], plan(*sets)["time"]
        assert four["rollout"] < one["rollout"]
        assert four["idle"] > 0.4
        assert four["rank_hours"] == pytest.approx(4 * four["training_seconds"] / 3600)
        assert four["dollars"] is None
        assert f"ranks wait {four['idle']:.0%}" in " ".join(comments(dry_run(*sets)[1]))

    def test_combs_are_not_predicted(self, run, dry_run):
        code, _, err = dry_run("--rates", str(run), "--set", "rollout.sampling=comb")
        assert code == 3
        assert "Fix: leave --rates out, or plan with --set rollout.sampling=chain" in err

    def test_replicas_sum_gradients_of_the_actual_model(self, run, plan):
        sets = ("--world-size", "8", "--set", "train.per_device_train_batch_size=64")
        found = plan("--rates", str(run), *sets)
        gradients = found["memory"]["ranks"][0]["step"]  # bytes of one agent's, in fp32
        assert found["time"]["summing"] == pytest.approx(gradients / found["time"]["assumed"]["bandwidth"])

    def test_what_the_run_does_not_tell_is_said(self, run, dry_run):
        out = dry_run("--rates", str(run), "--set", "team.evidence_top_k=3")[1]
        told = " ".join(comments(out))
        assert "Caution: it was measured with team.evidence_top_k=" in told
        assert "Caution: batches of 1 to 4 turns were measured, and these begin with 128 to 128" in told

    def test_what_credit_measures_is_left_out_and_said(self, run, plan):
        assert not any("credit" in told for told in self.cautions(run, plan))
        told = self.cautions(run, plan, "--set", "train.credit=leave_one_out")
        assert "what train.credit=leave_one_out has to measure takes no time here" in told

    def cautions(self, run, plan, *sets: str) -> list[str]:
        return plan("--rates", str(run), *sets)["time"]["cautions"]

    def test_settings_that_decide_the_pace_are_compared_both_ways(self, run, plan):
        """The plan's reward has a component more; the learning rate of an agent changes no time."""
        sets = ("--set", "reward.extra_weights={chance: 1}", "--set", "train.kl_coeff=0")
        sets += ("--set", "team.agents.planner.learning_rate=1")
        told = self.cautions(run, plan, *sets)
        assert "it was measured with reward.extra_weights.chance=None, and this is 1.0" in told
        assert any("train.kl_coeff" in caution for caution in told)
        assert not any("learning_rate" in caution for caution in told)

    def test_batches_of_one_size_cannot_tell_a_call_from_a_turn(self, run, plan):
        assert not any("cannot be told" in caution for caution in self.cautions(run, plan))
        events = [event for event in profile(TEAM) if event["args"].get("round") != 1]
        write_profile(run / "profile.json", events)
        assert any("had 4 turns" in caution for caution in self.cautions(run, plan))
        alike = ("--set", "rollout.microbatches=32")
        assert not any("had 4 turns" in caution for caution in self.cautions(run, plan, *alike))

    def test_an_agent_without_measured_updates_is_named(self, run, plan):
        events = [event for event in profile(TEAM) if (event["cat"], event["name"]) != ("update", "analyst")]
        write_profile(run / "profile.json", events)
        missing = "no update of the analyst was measured, and its updates take no time here"
        assert missing in self.cautions(run, plan)
        assert missing not in self.cautions(run, plan, "--set", "team.agents.analyst.trained=false")

    @pytest.mark.parametrize(
        ("ranks", "planned", "told"),
        [
            ([(1, 0)], 1, ""),
            ([(1, 0)], 2, "it was measured with 1 on a host, and 2 ranks slow each other"),
            ([(1, 0), (1, 0)], 2, ""),
            (
                [(2, 0)],
                2,
                "2 ranks on a host with 2 threads each, as measured, need 4 cores, and this machine has 2",
            ),
            ([(1, 0), (1, 1)], 1, "several replicas"),
        ],
    )
    def test_what_ranks_of_a_host_share(self, ranks, planned, told, run, plan, monkeypatch):
        monkeypatch.setattr(os, "cpu_count", lambda: 2)
        has(monkeypatch, Device("RAM", 64 * GB, shared=True))
        found = [
            {"host": "h", "device": "cpu", "threads": threads, "replica": replica}
            for threads, replica in ranks
        ]
        (run / "manifest.json").write_text(json.dumps({"topology": {"ranks": found}}))
        cautions = self.cautions(run, plan, "--world-size", str(planned))
        shared = [caution for caution in cautions if "on a host" in caution or "replicas" in caution]
        assert len(shared) == bool(told)
        assert all(told in caution for caution in shared)

    def test_what_was_measured_on_is_told(self, run, dry_run):
        ranks = [{"host": "h", "device": "cpu", "threads": 1, "replica": 0}] * 2
        (run / "manifest.json").write_text(json.dumps({"topology": {"ranks": ranks}}))
        told = " ".join(comments(dry_run("--rates", str(run))[1]))
        assert "on 2 ranks (cpu, 1 threads each), with 3.0 tokens a turn" in told

    @pytest.mark.parametrize(
        ("arguments", "code", "fix"),
        [
            (["--rates", "runs/mesured"], 3, "did you mean runs/measured?"),
            (["--rates", "measured"], 3, "did you mean runs/measured?"),
            (["--rates", "runs/measured/profile.json"], 3, "did you mean runs/measured?"),
            (["--rank-price", "2"], 2, "--rates"),
            (["--rates", "runs/measured", "--rank-price", "inf"], 2, "--rank-price 1.4"),
            (["--rates", "runs/measured", "--rank-price", "nan"], 2, "maporl train --help"),
        ],
    )
    def test_what_nothing_can_be_told_from(self, run, arguments, code, fix, dry_run):
        found, out, err = dry_run(*arguments)
        assert (found, out) == (code, "")
        assert fix in err.splitlines()[-1]

    def test_a_run_without_a_profile(self, run, dry_run):
        (run / "profile.json").unlink()
        code, _, err = dry_run("--rates", str(run))
        assert code == 3
        assert "the run was made without --profile" in err
        assert "--profile" in err.splitlines()[-1]

    def test_rates_are_no_setting_of_a_training(self, monkeypatch, run, capfd):
        from maporl_cli.cli.main import main

        monkeypatch.setattr(sys, "argv", ["maporl", "train", "--rates", str(run)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "--dry-run --rates" in capfd.readouterr().err
