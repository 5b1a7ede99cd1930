"""A study's trials: none lost, none repeated, bad ones stopped. Each is a process, though none trains."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import psutil
import pytest
import quick_trial
from optuna.distributions import FloatDistribution
from optuna.pruners import HyperbandPruner, MedianPruner
from optuna.samplers import RandomSampler, TPESampler
from quick_trial import value_of
from ranks import start_ranks
from small_runs import SMALL

from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import ConfigError, MaporlError, MissingError, RunFailed
from maporl_cli.tuning import runs
from maporl_cli.tuning.search import TrialJob
from maporl_cli.tuning.study import pruner, sampler
from maporl_cli.tuning.tune import tune

QUICK = (quick_trial.__file__,)
RATES = "train.learning_rate: {low: 1e-6, high: 1e-1, log: true}, train.kl_coeff: [0, 0.05]"
GOOD_OR_BAD = "train.learning_rate: [1e-3, 1e-6]"


def study(folder: Path, *sets: str, space: str = RATES) -> Config:
    none = ["tune.space.train.warmup_steps=null", "tune.space.train.max_grad_norm=null"]
    none += [
        "tune.space.train.kl_coeff=null",
        "tune.space.train.learning_rate=null",
        "tune.eval_fraction=0.2",
    ]
    told = [
        f"run.output_dir={folder}",
        "run.name=study",
        "tune.max_trials=6",
        *none,
        f"tune.space={{{space}}}",
    ]
    return load_config(preset="clinic", sets=[*SMALL, *told, *sets]).config


def search(config: Config, resume: bool = False, *, overwrite: bool = False) -> dict[str, Any]:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runs, "_PROGRAM", QUICK)
        patched.setattr(runs, "_LOOK_EVERY", 0.02)
        found = tune(config, nproc=1, gpus=0, resume=resume, overwrite=overwrite, say=said.append)
    return {**found, "said": said}


def starts(folder: Path) -> list[tuple[str, str, float]]:
    """(start or end, run, seconds) in order."""
    lines = (folder / "study" / "starts.txt").read_text().splitlines()
    return [(what, run, float(at)) for what, run, _, at in map(str.split, lines)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study that nobody disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, search(study(folder))


class TestAStudy:
    def test_its_values_are_those_of_the_runs(self, found):
        _, told = found
        finished = [trial for trial in told["trials"] if trial["state"] == "finished"]
        assert len(told["trials"]) == 6
        assert len(finished) >= 3
        for trial in finished:
            assert trial["value"] == pytest.approx(value_of(trial["values"]["train.learning_rate"], 0))

    def test_its_winner_is_the_best_and_was_trained_again(self, found):
        folder, told = found
        best = told["best"]
        rate = best["values"]["train.learning_rate"]
        assert best["value"] == max(trial["value"] or 0 for trial in told["trials"])
        assert best["seeds"] == {str(seed): pytest.approx(value_of(rate, seed)) for seed in (1, 2, 3)}
        assert best["mean"] == pytest.approx(value_of(rate, 2))
        # Of three values a, a-.01, a-.02: t(.975; 2) = 4.3027, and the standard error is .01/√3.
        low, high = best["ci95"]
        assert (high - low) / 2 == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)
        assert json.loads((folder / "study" / "study.json").read_text())["best"] == best

    def test_its_best_config_trains_on_everything_and_is_judged_by_the_evaluation_questions(self, found):
        folder, told = found
        best = load_config(file=folder / "study" / "best.yaml").config
        base = study(folder)
        assert best.train.learning_rate == told["best"]["values"]["train.learning_rate"]
        assert best.train.kl_coeff == told["best"]["values"]["train.kl_coeff"]
        assert (best.data, best.eval, best.run.name) == (base.data, base.eval, None)
        assert best.train.eval_every == base.train.eval_every

    def test_its_trials_are_runs_on_tuning_questions(self, found):
        folder, told = found
        for trial in told["trials"]:
            config = load_config(file=Path(trial["run"]) / "config.yaml").config
            assert config.data.tuning_fraction == 0.2
            assert config.eval.baselines == ()
            assert config.run.output_dir == folder / "study"
            assert config.train.learning_rate == trial["values"]["train.learning_rate"]
        assert told["tuning_questions"] == 8  # a fifth of 40

    def test_what_mattered(self, found):
        _, told = found
        if told["importance"]:
            assert sum(told["importance"].values()) == pytest.approx(1)
            assert next(iter(told["importance"])) == "train.learning_rate"

    def test_its_page_says_how_sure_it_is(self, found):
        folder, told = found
        page = (folder / "study" / "report.html").read_text()
        assert f"is the best of {len(told['trials'])} trials, and so partly luck" in page
        assert "95 % t interval" in page

    def test_a_second_seed_tries_other_values(self, found, tmp_path):
        _, told = found
        other = search(study(tmp_path, "run.seed=1", "tune.max_trials=1", "tune.confirm_seeds=0"))
        assert other["trials"][0]["values"] != told["trials"][0]["values"]
        assert other["best"]["mean"] is None


class TestInterrupted:
    def test_kills_lose_and_repeat_nothing(self, found, tmp_path):
        _, undisturbed = found
        config = study(tmp_path)
        for kill in range(5):
            (process,) = start_ranks(1, search, config, kill > 0).processes
            seen = len(starts(tmp_path)) if kill else 0
            # A little later each time: while a trial starts, is on its way, ends, and is told of.
            wait_for(
                lambda seen=seen: (
                    (tmp_path / "study" / "starts.txt").exists() and len(starts(tmp_path)) > seen
                )
            )
            time.sleep(0.12 * kill)
            process.kill()
            process.join()
        told = search(config, resume=True)
        assert [(one["value"], one["values"], one["state"]) for one in told["trials"]] == [
            (one["value"], one["values"], one["state"]) for one in undisturbed["trials"]
        ]
        assert told["best"]["seeds"] == undisturbed["best"]["seeds"]
        ended: set[str] = set()
        for what, run, _ in starts(tmp_path):
            assert run not in ended, f"{run} was trained again"
            if what == "end":
                ended.add(run)
        assert not list((tmp_path / "study").glob("trial_006*"))

    def test_a_stop_is_passed_on_and_the_study_goes_on_where_it_was(self, tmp_path):
        config = study(
            tmp_path, "train.max_steps=40", "tune.evaluations=40", "tune.max_trials=1", "tune.confirm_seeds=0"
        )
        going = start_ranks(1, search, config)
        wait_for(lambda: list(tmp_path.glob("study/trial_000/metrics.jsonl")))
        os.kill(going.processes[0].pid, signal.SIGTERM)
        ((_, error),) = going.outcomes()
        assert "Interrupted: The study was stopped." in str(error)
        assert "Fix: run the same command with --resume" in str(error)
        assert [what for what, _, _ in starts(tmp_path)] == ["start"]
        assert search(config, resume=True)["trials"][0]["state"] == "finished"
        assert [what for what, _, _ in starts(tmp_path)] == ["start", "start", "end"]

    def test_a_second_request_to_stop_waits_for_no_trial(self, tmp_path):
        """The trial of this rate never heeds one."""
        one = ("tune.max_trials=1", "tune.confirm_seeds=0", "train.max_steps=600", "tune.evaluations=600")
        going = start_ranks(1, search, study(tmp_path, *one, space="train.learning_rate: [0.25]"))
        wait_for(lambda: list(tmp_path.glob("study/trial_000/metrics.jsonl")))
        (trial,) = psutil.Process(going.processes[0].pid).children()
        os.kill(going.processes[0].pid, signal.SIGTERM)
        time.sleep(0.5)
        assert trial.is_running()
        os.kill(going.processes[0].pid, signal.SIGTERM)
        wait_for(lambda: not trial.is_running())
        going.processes[0].kill()

    def test_more_trials_can_be_added(self, tmp_path):
        fewer = search(study(tmp_path, "tune.max_trials=2", "tune.confirm_seeds=0", "tune.strategy=random"))
        more = search(
            study(tmp_path, "tune.max_trials=3", "tune.confirm_seeds=0", "tune.strategy=random"), resume=True
        )
        assert more["trials"][:2] == fewer["trials"]
        assert len(more["trials"]) == 3
        assert Counter(run for what, run, _ in starts(tmp_path) if what == "start").most_common(1)[0][1] == 1

    def test_a_trial_that_somebody_else_stops_is_gone_on_with(self, tmp_path):
        more = ("train.max_steps=40", "tune.evaluations=40", "tune.max_trials=1", "tune.confirm_seeds=0")
        config = study(tmp_path, *more)
        going = start_ranks(1, search, config)
        wait_for(lambda: list(tmp_path.glob("study/trial_000/metrics.jsonl")))
        (trial,) = psutil.Process(going.processes[0].pid).children()
        trial.send_signal(signal.SIGTERM)
        ((_, error),) = going.outcomes()
        assert "was asked to stop, and not by its study." in str(error)
        assert search(config, True)["trials"][0]["state"] == "finished"

    def test_a_study_that_was_killed_as_it_began_can_be_begun(self, tmp_path):
        (tmp_path / "study").mkdir()
        (tmp_path / "study" / ".new-999999-0a1b2c3d.study.yaml").write_text("half")
        assert search(study(tmp_path, "tune.max_trials=1", "tune.confirm_seeds=0"))["trials"]


class TestBadTrials:
    def test_what_the_machine_lacks_is_no_fault_of_the_settings(self, tmp_path):
        config = study(
            tmp_path, "tune.max_trials=2", "tune.confirm_seeds=0", space="train.learning_rate: [0.5]"
        )
        with pytest.raises(MissingError) as caught:
            search(config)
        assert "There is no such disk." in caught.value.message
        (tmp_path / "study" / "disk is back").touch()
        told = search(config, True)
        assert [trial["state"] for trial in told["trials"]] == ["finished", "finished"]

    def test_one_that_is_worse_than_half_of_the_others_is_stopped_and_its_process_ends(self, tmp_path):
        long = ("train.max_steps=12", "tune.evaluations=12", "tune.strategy=random", "run.seed=3")
        told = search(study(tmp_path, *long, "tune.confirm_seeds=0", "tune.max_trials=8"))
        earlier: list[float] = []
        for trial in told["trials"]:
            value = value_of(trial["values"]["train.learning_rate"], 0)
            worse = len(earlier) >= 3 and value < median(earlier)
            assert trial["state"] == ("stopped early" if worse else "finished"), told["trials"]
            earlier += [] if worse else [value]
        stopped = [trial for trial in told["trials"] if trial["state"] == "stopped early"]
        assert stopped
        assert all(len(trial["on_the_way"]) < 11 for trial in stopped)
        assert all(trial["value"] is None for trial in stopped)
        assert not any(
            run == f"trial_{one['trial']:03d}"
            for one in stopped
            for what, run, _ in starts(tmp_path)
            if what == "end"
        )

    def test_without_early_stopping_none_is(self, tmp_path):
        every = ("tune.early_stopping=false", "tune.strategy=random", "tune.confirm_seeds=0")
        told = search(study(tmp_path, *every, space=GOOD_OR_BAD))
        assert {trial["value"] for trial in told["trials"]} == {0.25, 1.0}
        assert {trial["state"] for trial in told["trials"]} == {"finished"}

    def test_values_that_were_tried_before_are_not_trained_again(self, tmp_path):
        every = ("tune.early_stopping=false", "tune.strategy=random", "tune.confirm_seeds=0")
        told = search(study(tmp_path, *every, space=GOOD_OR_BAD))
        first: dict[float, int] = {}
        for trial in told["trials"]:
            rate = trial["values"]["train.learning_rate"]
            original = first.setdefault(rate, trial["trial"])
            assert trial["value"] == pytest.approx(value_of(rate, 0))
            assert trial["same_as"] == (None if original == trial["trial"] else original)
            assert trial["run"].endswith(f"trial_{original:03d}")
        assert sorted(run for what, run, _ in starts(tmp_path) if what == "start") == sorted(
            f"trial_{number:03d}" for number in first.values()
        )
        assert told["best"]["trial"] == first[1e-3]

    def test_one_that_was_found_hopeless_is_hopeless_after_a_kill(self, tmp_path):
        config = study(tmp_path)
        record = optuna.create_study(direction="maximize", pruner=MedianPruner(n_startup_trials=1))
        good, bad = record.ask(), record.ask()
        good.report(0.9, 1)
        record.tell(good, 0.9)
        assert TrialJob(config, bad, record, print).goes_on()
        bad.report(0.1, 1)
        assert not TrialJob(config, bad, record, print).goes_on()

    @pytest.mark.parametrize("damage", ["{", "[]", '{"eval": {}}', '{"eval": null}'])
    def test_results_that_were_damaged_cost_their_own_trial_only(self, tmp_path, damage):
        config = study(tmp_path, "tune.max_trials=1", "tune.confirm_seeds=1")
        before = search(config)
        results = tmp_path / "study" / "trial_000_seed_1" / "training_results.json"
        results.write_text(damage)
        with pytest.raises(RunFailed) as caught:
            search(config, resume=True)
        assert str(results) in caught.value.message
        assert "delete that file, and run the same command with --resume" in caught.value.message
        results.unlink()
        assert search(config, resume=True)["best"] == before["best"]
        assert Counter(run for what, run, _ in starts(tmp_path) if what == "end") == {
            "trial_000": 1,
            "trial_000_seed_1": 2,
        }

    def test_one_that_fails_has_no_value_and_the_others_go_on(self, tmp_path):
        random = ("tune.strategy=random", "tune.confirm_seeds=0", "run.seed=3")
        told = search(study(tmp_path, *random, space="train.learning_rate: [1e-3, 2]"))
        failed = [trial for trial in told["trials"] if trial["state"] == "failed"]
        assert failed
        assert all(trial["value"] is None and "It diverged." in trial["failure"] for trial in failed)
        assert told["best"]["values"] == {"train.learning_rate": 1e-3}

    def test_a_study_of_failures_ends(self, tmp_path):
        config = study(tmp_path, space="train.learning_rate: [2, 3]")
        with pytest.raises(RunFailed) as caught:
            search(config)
        assert "The first 3 trials have all failed." in caught.value.message
        assert "It diverged." in caught.value.message
        assert len(starts(tmp_path)) == 3

    def test_values_that_cannot_stand_together_fail_their_trial_only(self, tmp_path):
        # 6 questions of 4 episodes are no number of passes of 16; with each other value, either is right.
        space = "train.batch_size: [4, 6], train.per_device_train_batch_size: [8, 16]"
        every = (
            "tune.max_trials=8",
            "tune.early_stopping=false",
            "tune.strategy=random",
            "tune.confirm_seeds=0",
        )
        told = search(study(tmp_path, *every, space=space))
        states = {tuple(trial["values"].values()): trial["state"] for trial in told["trials"]}
        assert set(states.values()) == {"finished", "failed"}
        assert [values for values, state in states.items() if state == "failed"] == [(6, 16)]


class TestSeveralAtOnce:
    def test_two_trials_go_on_at_a_time_and_no_more(self, tmp_path):
        search(
            study(
                tmp_path,
                "tune.parallel=2",
                "train.max_steps=16",
                "tune.evaluations=8",
                "tune.early_stopping=false",
                "tune.confirm_seeds=0",
            )
        )
        going, most = set(), 0
        for what, run, _ in starts(tmp_path):
            going = going | {run} if what == "start" else going - {run}
            most = max(most, len(going))
        assert most == 2

    def test_each_has_gpus_of_its_own(self, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert [place["CUDA_VISIBLE_DEVICES"] for place in runs.places(2, 2, 4)] == ["0,1", "2,3"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
        assert [place["CUDA_VISIBLE_DEVICES"] for place in runs.places(1, 2, 2)] == ["5", "7"]

    def test_more_than_there_are_gpus_for(self, tmp_path):
        with pytest.raises(ConfigError, match="need 8 GPUs"):
            tune(
                study(tmp_path, "tune.parallel=4"), nproc=2, gpus=4, resume=False, overwrite=False, say=print
            )
        assert not (tmp_path / "study").exists()


class TestTheDirectory:
    def refused(self, config: Config, **how: bool) -> MaporlError:
        with pytest.raises(MaporlError) as caught:
            search(config, **how)
        return caught.value

    def test_another_space(self, found):
        folder, _ = found
        error = self.refused(study(folder, "tune.space.train.kl_coeff=[0, 0.1]"), resume=True)
        assert "another value of tune.space" in error.message
        assert error.exit_code == 3

    def test_another_model_or_other_questions(self, found):
        folder, _ = found
        error = self.refused(study(folder, "model.finetune=lora", "tune.eval_fraction=0.3"), resume=True)
        assert "another value of model.finetune, tune.eval_fraction" in error.message

    def test_another_objective(self, found):
        folder, _ = found
        other = ("tune.objective=eval:sampled_accuracy", "tune.early_stopping=false", "tune.evaluations=3")
        error = self.refused(study(folder, *other), resume=True)
        assert "another value of tune.objective, tune.evaluations" in error.message

    def test_any_name_of_a_folder(self, tmp_path):
        folder = tmp_path / "a {b} ? c"
        search(study(folder, "tune.max_trials=1", "tune.confirm_seeds=0"))
        assert (folder / "study" / "study.db").is_file()

    def test_no_fresh_seeds(self, tmp_path):
        assert "There are not 3 fresh seeds" in self.refused(study(tmp_path, "run.seed=4294967294")).message

    def test_a_study_is_not_overwritten_unasked(self, found):
        folder, _ = found
        assert "--overwrite deletes it" in self.refused(study(folder)).message

    def test_a_run_is_never_overwritten(self, tmp_path):
        (tmp_path / "study").mkdir()
        (tmp_path / "study" / "config.yaml").write_text("run: {}")
        error = self.refused(study(tmp_path), overwrite=True)
        assert "is in the way, and it is no study" in error.message
        assert (tmp_path / "study" / "config.yaml").exists()

    def test_overwritten(self, tmp_path):
        few = ("tune.max_trials=1", "tune.confirm_seeds=0")
        search(study(tmp_path, *few))
        search(study(tmp_path, *few, "run.seed=5"), overwrite=True)
        assert load_config(file=tmp_path / "study" / "study.yaml").config.run.seed == 5

    def test_no_study_to_go_on_with(self, tmp_path):
        assert "There is no study" in self.refused(study(tmp_path), resume=True).message

    def test_two_at_once(self, tmp_path):
        config = study(
            tmp_path, "train.max_steps=40", "tune.evaluations=40", "tune.max_trials=1", "tune.confirm_seeds=0"
        )
        going = start_ranks(1, search, config)
        wait_for(lambda: list(tmp_path.glob("study/trial_000/metrics.jsonl")))
        assert f"process {going.processes[0].pid}" in self.refused(config, resume=True).message
        going.processes[0].kill()

    def test_a_damaged_record(self, tmp_path):
        config = study(tmp_path, "tune.max_trials=1", "tune.confirm_seeds=0")
        search(config)
        (tmp_path / "study" / "study.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
        error = self.refused(config, resume=True)
        assert "The record of the study's trials cannot be used." in error.message
        assert error.exit_code == 1


@pytest.mark.parametrize(
    ("strategy", "chooses", "stops"),
    [
        ("bayesian", TPESampler, MedianPruner),
        ("random", RandomSampler, MedianPruner),
        ("hyperband", TPESampler, HyperbandPruner),
    ],
)
def test_who_chooses_and_who_stops(strategy, chooses, stops):
    tune = load_config(sets=[f"tune.strategy={strategy}"]).config.tune
    assert isinstance(sampler(tune, 0, 0), chooses)
    assert isinstance(pruner(tune), stops)


def test_bayesian_looks_at_what_came_of_the_first_third():
    """Trials say that .001 is best; of random draws only two in five would come so near to it."""
    tune = load_config(sets=["tune.max_trials=12"]).config.tune
    space = {"rate": FloatDistribution(1e-6, 1e-1, log=True)}
    record = optuna.create_study(direction="maximize")
    for exponent in range(-60, -9, 2):
        rate = 10 ** (exponent / 10)
        value = value_of(rate, 0)
        record.add_trial(optuna.trial.create_trial(params={"rate": rate}, distributions=space, value=value))
    chosen = []
    for number in range(10):
        record.sampler = sampler(tune, 0, 100 + number)
        chosen.append(record.ask(space).params["rate"])
    assert sum(1e-4 < rate < 1e-2 for rate in chosen) >= 7, chosen


def wait_for(happened: Any) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)
