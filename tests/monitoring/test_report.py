import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from evaluated import evaluation
from html_page import Page

from maporl_cli.core.config import Config
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Episode, Question, Score, Turn
from maporl_cli.monitoring.episodes import EpisodeFiles
from maporl_cli.monitoring.jsonl import JsonlSink
from maporl_cli.monitoring.report import write_report

ATTACK = "<script>alert('x')</script><img src=https://example.com/x onerror=alert(1)>"
BEFORE = {
    "accuracy": 0.21,
    "ci95": [0.175, 0.2525],
    "sampled": 0.2,
    "sampled_ci95": [0.163, 0.242],
    "n": 400,
    "invalid": 61,
    "tokens_per_question": 1912.4,
}
AFTER = BEFORE | {"accuracy": 0.94, "ci95": [0.912, 0.9594], "invalid": 0}


def new_run(folder: Path) -> RunDir:
    return RunDir.open_new(
        Config.model_validate({"run": {"name": "demo", "output_dir": folder, "seed": 4711}})
    )


def episode(name: str, answer: str | None, said: str, step: int) -> Episode:
    question = Question(id=name, text=f"What of {name}?", options={"A": "wait", "B": ATTACK}, answer="B")
    turns = [Turn("planner", 0, (1,), (2,), (-0.1,), said, True, 0)]
    return Episode(question, 0, step, turns, answer, Score(0.5, 0.5, 0.625, {}, {}))


def log_steps(run: RunDir, steps: Sequence[int]) -> None:
    sink = JsonlSink(run.metrics)
    for step in steps:
        sink.log(
            step,
            {
                "train:accuracy": step / 10,
                "train:reward": 0.5,
                "train:loss": -0.1,
                "train:tokens": 1500.0,
                "train:seconds": 30.0,
                "planner:loss": 0.1,
                "planner:entropy": 1.0,
                "reporter:loss": 0.2,
                "reporter:entropy": 2.0,
                "medical:relevance": 0.5,
            },
        )


@pytest.fixture
def finished(tmp_path: Path) -> RunDir:
    run = new_run(tmp_path)
    log_steps(run, [1, 2, 3])
    files = EpisodeFiles(run.episodes)
    files.write(
        1, [episode("early-wrong", "A", ATTACK, 1), episode("early-other", "A", "second of its kind", 1)]
    )
    files.write(2, [episode("middle", "B", "not shown", 2)])
    files.write(3, [episode("late-unread", None, "mumble", 3), episode("late-right", "B", "surely", 3)])
    single = {"accuracy": 0.6, "ci95": [0.551, 0.647], "sampled": 0.55, "n": 400, "tokens": 10**9}
    results = {"eval": {"before": BEFORE, "after": AFTER, "single": single}}
    run.results.write_text(json.dumps(results))
    run.evaluation.mkdir()
    (run.evaluation / "before.json").write_text(json.dumps(BEFORE))
    run.manifest.write_text(json.dumps({"versions": {"torch": "9.9.9"}}))
    return run


def page(run: RunDir) -> Page:
    path = write_report(run)
    assert path == run.path / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_evaluations_stand_with_their_intervals(finished: RunDir) -> None:
    text = page(finished).text
    assert "State finished" in text
    for row in (
        "Team before training 21.0 % (17.5 % to 25.2 %) 20.0 % (16.3 % to 24.2 %) 400 61 1,912",
        "Team after training 94.0 % (91.2 % to 95.9 %) 20.0 % (16.3 % to 24.2 %) 400 0 1,912",
        "One agent alone, sees everything 60.0 % (55.1 % to 64.7 %) 55.0 % 400 – –",
    ):
        assert row in text
    assert text.count("Team before training 21.0 % (") == 1


def test_training_is_drawn_for_each_agent(finished: RunDir) -> None:
    shown = page(finished)
    titles = ("Accuracy", "Reward", "Loss", "Entropy", "Reward components")
    assert shown.tags.count("svg") == len(titles) + 1  # and the intervals
    for words in (*titles, "planner", "reporter", "medical:relevance", "Last step 3", "Training time 1m 30s"):
        assert words in shown.text
    assert "Training tokens 4,500" in shown.text
    assert "Gradient norm" not in shown.text  # not measured, not drawn
    assert ">train<" not in finished.report.read_text()  # the mean of the losses is no agent


def test_examples_come_from_both_ends_one_of_a_kind(finished: RunDir) -> None:
    text = page(finished).text
    assert "Step 1: wrong , question early-wrong" in text
    assert "Step 3: right , question late-right" in text
    assert "Step 3: unreadable , question late-unread" in text
    assert "none that could be read" in text
    for hidden in ("early-other", "middle"):
        assert hidden not in text


def test_config_and_manifest_are_there(finished: RunDir) -> None:
    text = page(finished).text
    assert "seed: 4711" in text
    assert '"torch": "9.9.9"' in text


def test_what_models_and_data_say_is_text_and_nothing_is_fetched(finished: RunDir) -> None:
    shown = page(finished)
    assert shown.text.count("<script>alert('x')</script>") >= 4  # visible as text: three options and a turn
    assert "script" not in shown.tags
    assert "img" not in shown.tags
    assert "link" not in shown.tags
    assert shown.fetched == []
    assert shown.handlers == []
    assert shown.policy.startswith("default-src 'none'")
    assert "script" not in shown.policy


def test_a_run_name_is_text_too(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "<b>bold")
    run.path.mkdir()
    assert "b" not in page(run).tags


def test_a_run_stopped_midway_shows_what_it_has(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    log_steps(run, [1])
    with run.metrics.open("a") as file:
        file.write('{"step": 2, "train:acc')
    run.evaluation.mkdir()
    (run.evaluation / "before.json").write_text(json.dumps(BEFORE))
    (run.evaluation / "before.greedy.records.jsonl").write_text('{"id": "q"')
    text = page(run).text
    assert "State not finished" in text
    assert "Last step 1" in text
    assert "Team before training 21.0 %" in text
    assert "Team after training" not in text
    assert "No episode has been kept." in text


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    text = page(new_run(tmp_path)).text
    assert "Nothing has been evaluated yet." in text
    assert "No step has been logged yet." in text


def test_a_metric_that_was_never_finite_is_not_drawn(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    JsonlSink(run.metrics).log(1, {"planner:loss": float("nan"), "train:reward": 1.0})
    shown = page(run)
    assert "Loss" not in shown.text
    assert "Reward" in shown.text


def test_half_a_surrogate_pair_does_not_stop_the_report(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    EpisodeFiles(run.episodes).write(1, [episode("q", "A", "broken \ud83d emoji", 1)])
    assert "broken ? emoji" in page(run).text


def test_a_report_is_written_again_over_the_old_one(finished: RunDir) -> None:
    write_report(finished)
    log_steps(finished, [4])
    assert "Last step 4" in page(finished).text


def test_each_evaluation_has_its_section_beside_what_training_measured(finished: RunDir) -> None:
    for name in ("b-clinic", "a-medqa"):
        (finished.evaluation / f"{name}.json").write_text(json.dumps(evaluation()))
    (finished.evaluation / "cut.json").write_text(json.dumps({"settings": evaluation()["settings"]}))
    text = page(finished).text
    places = [
        text.index(words)
        for words in (
            "Before and after training",
            "Team before training 21.0 %",
            "Evaluation: a-medqa",
            "Evaluation: b-clinic",
            "Evaluation: cut Not finished",
            "Training Lines of more than",
        )
    ]
    assert places == sorted(places)
    assert text.count("Team 45.2 % (40.3 % to 50.1 %)") == 2
    assert "b-clinic 45.2 %" not in text  # no row of what training measured


def test_a_run_that_was_only_evaluated_does_not_say_that_it_was_not(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.evaluation.mkdir()
    (run.evaluation / "clinic.json").write_text(json.dumps(evaluation()))
    text = page(run).text
    assert "Nothing has been evaluated yet." not in text
    assert "Before and after training" not in text
    assert "Evaluation: clinic" in text
