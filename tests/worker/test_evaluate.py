"""`worker.evaluate_run`: what it refuses to ask, because an answer would mean nothing."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from small_runs import go, small

from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.data.benchmarks import benchmark
from maporl_cli.data.writing import write_questions
from maporl_cli.worker import ask_team, evaluate_run
from maporl_cli.worker import evaluate as evaluating


def ask(run: Path, *sets: str, **options):
    asked = {"benchmark": None, "data": None, "limit": None, "sampled": False, "baselines": ()} | options
    return evaluate_run(small(run.parent, *sets), run=run, display="none", **asked)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    go(small(folder, "eval.baselines=[]"))
    return folder / "run"


def test_what_the_run_trained_on_is_not_asked(run, tmp_path):
    file = tmp_path / "train.jsonl"
    write_questions(file, islice(benchmark("clinic").train(0), 30, 50))
    with pytest.raises(DataError, match="share 10 questions"):  # it trained on the first 40
        ask(run, data=file)


@pytest.mark.parametrize("change", ["data.sample_seed=1", "data.max_train_samples=20", "data.eval=clinic"])
def test_the_split_is_the_runs_own(run, change):
    with pytest.raises(ConfigError, match=change.partition("=")[0].replace(".", r"\.")):
        ask(run, change)


def test_a_benchmark_that_changed_since_is_told(run, tmp_path):
    kept = run.joinpath("manifest.json").read_text()
    told = json.loads(kept)
    assert set(told["data"]) == {"clinic (training)", "clinic (evaluation)"}
    told["data"]["clinic (training)"] = "0" * 64
    run.joinpath("manifest.json").write_text(json.dumps(told))
    try:
        with pytest.raises(DataError, match="has changed"):
            ask(run)
    finally:
        run.joinpath("manifest.json").write_text(kept)


def test_where_the_training_data_is_gone_the_result_says_that_nobody_can_tell(tmp_path):
    trained = tmp_path / "mine.jsonl"
    write_questions(trained, islice(benchmark("clinic").train(0), 60))
    model = Path(go(small(tmp_path, "eval.baselines=[]"))["run"]) / "final_model" / "planner"
    mine = [
        f"data.train={trained}",
        f"model.name={model}",
        "train.max_steps=1",
        "train.cold_start.role_steps=0",
    ]
    run = Path(go(small(tmp_path, *mine, "eval.baselines=[]", name="file"))["run"])
    others = tmp_path / "others.jsonl"
    write_questions(others, islice(benchmark("clinic").evaluation(0), 4))
    options = {"benchmark": None, "data": others, "limit": None, "sampled": False, "baselines": ()}

    def found() -> dict:
        return evaluate_run(small(tmp_path, *mine, name="file"), run=run, display="none", **options)

    assert "caution" not in found()
    trained.unlink()
    assert f"cannot tell whether {others} was trained on" in found()["caution"]


def test_unknown_words_are_refused_before_an_untrained_team_learns_its_forms(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "cold_start_session", lambda *_: pytest.fail("a minute for nothing"))
    file = tmp_path / "real.jsonl"
    file.write_text(json.dumps({"question": "aspirin?", "options": ["a", "b"], "label": "A"}))
    options = {"benchmark": None, "limit": None, "sampled": False, "baselines": ()}
    with pytest.raises(DataError, match="know no words"):
        evaluate_run(small(tmp_path), run=None, data=file, display="none", **options)


def test_files_of_one_name_keep_their_records_apart(run, tmp_path):
    records = set()
    for place, start in (("a", 0), ("b", 4)):
        (tmp_path / place).mkdir()
        file = tmp_path / place / "held_out.jsonl"
        write_questions(file, islice(benchmark("clinic").evaluation(0), start, start + 4))
        found = ask(run, data=file)
        assert found["n"] == 4
        records.add(found["records"])
    assert len(records) == 2
    assert ask(run)["records"] not in records


def test_tiny_policies_are_not_asked_what_they_have_no_words_for(run, tmp_path):
    file = tmp_path / "real.jsonl"
    file.write_text(json.dumps({"question": "task treatment aspirin?", "options": ["a", "b"], "label": "A"}))
    with pytest.raises(DataError, match=r"'aspirin\?' is none of the 576 words of clinic"):
        ask(run, data=file)
    asked = list(islice(benchmark("clinic").evaluation(0), 1))
    assert ask_team(small(run.parent), run=run, questions=asked, display="none")[0].turns
