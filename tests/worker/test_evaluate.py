"""`worker.evaluate_run`: what it refuses to ask, because an answer would mean nothing."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from small_runs import go, small

from maporl_cli.core.errors import ConfigError, DataError, Interrupted, RunFailed, UsageError
from maporl_cli.data.benchmarks import benchmark
from maporl_cli.data.writing import write_questions
from maporl_cli.worker import Request, ask_team, evaluate_run, systems
from maporl_cli.worker import evaluate as evaluating

pytestmark = pytest.mark.usefixtures("undrawn")


def ask(run: Path, *sets: str, **options: Any) -> dict[str, Any]:
    request = Request(run=run, baselines=(), **options)
    return evaluate_run(small(run.parent, *sets), request, display="none")


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


def test_where_the_training_data_is_gone_the_result_says_that_nobody_can_tell(run, tmp_path):
    trained = tmp_path / "mine.jsonl"
    write_questions(trained, islice(benchmark("clinic").train(0), 60))
    mine = [
        f"data.train={trained}",
        f"model.name={run / 'final_model' / 'planner'}",
        "train.max_steps=1",
        "train.cold_start.role_steps=0",
    ]
    from_file = Path(go(small(tmp_path, *mine, "eval.baselines=[]", name="file"))["run"])
    others = tmp_path / "others.jsonl"
    write_questions(others, islice(benchmark("clinic").evaluation(0), 4))
    request = Request(run=from_file, data=others, baselines=())

    def found() -> dict:
        return evaluate_run(small(tmp_path, *mine, name="file"), request, display="none")

    assert "caution" not in found()
    trained.unlink()
    assert f"cannot tell whether {others} was trained on" in found()["caution"]


def test_unknown_words_are_refused_before_an_untrained_team_learns_its_forms(tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "cold_start_session", lambda *_: pytest.fail("a minute for nothing"))
    file = tmp_path / "real.jsonl"
    file.write_text(json.dumps({"question": "aspirin?", "options": ["a", "b"], "label": "A"}))
    with pytest.raises(DataError, match="know no words"):
        evaluate_run(small(tmp_path), Request(data=file), display="none")


def test_a_published_benchmark_is_read_where_it_was_fetched(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    questions = list(islice(benchmark("clinic").evaluation(0), 8))
    for split, own in (("test", questions[:4]), ("dev", questions[4:])):
        write_questions(Path("data") / f"medxpert_{split}.jsonl", own)
    found, dev = ask(run, benchmark="medxpert"), ask(run, benchmark="medxpert", split="dev")
    assert [row["id"] for row in rows_of(found)] == [one.id for one in questions[:4]]
    assert [row["id"] for row in rows_of(dev)] == [one.id for one in questions[4:]]
    names = [Path(one["records"]).name for one in (found, dev)]
    assert names == ["medxpert.records.jsonl", "medxpert-dev.records.jsonl"]


def test_a_benchmark_that_is_not_there_names_the_nearest(run):
    with pytest.raises(ConfigError, match=r"(?s)no benchmark 'medexpert'.*Fix: maporl eval medxpert"):
        ask(run, benchmark="medexpert")
    with pytest.raises(UsageError, match="no splits"):
        ask(run, benchmark="clinic", split="dev")


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
    with pytest.raises(DataError, match=r"word 3 of its question is none of the 576 words of clinic"):
        ask(run, data=file)
    asked = list(islice(benchmark("clinic").evaluation(0), 1))
    assert ask_team(small(run.parent), run=run, questions=asked, display="none")[0].turns


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(found["records"]).read_text().splitlines()]


PASSING = ("records", "settings", "seconds_per_question")


def without_records(found: dict[str, Any]) -> dict[str, Any]:
    """What was found, without the paths of records and how long it took."""
    others = {who: without_records(own) for who, own in found.get("baselines", {}).items()}
    return {key: value for key, value in found.items() if key not in PASSING} | {"baselines": others}


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """A run that trained one agent alone as well."""
    folder = tmp_path_factory.mktemp("compared")
    go(small(folder, "eval.baselines=[single]"))
    return folder / "run"


def evaluated(run: Path, **options: Any) -> dict[str, Any]:
    return evaluate_run(
        small(run.parent, "eval.baselines=[single]"), Request(run=run, **options), display="none"
    )


def test_all_that_a_run_has_is_compared_with_by_default(compared):
    found = evaluated(compared, checks=("shuffled", "silenced"))
    assert list(found["baselines"]) == ["untrained", "single", "majority"]
    assert list(found["comparisons"]) == ["untrained", "single", "majority"]
    assert list(found["contributions"]) == ["planner", "researcher", "analyst"]
    assert 0 <= found["consistency"] <= 1
    kept = json.loads((compared / "eval" / "held_out.json").read_text())
    assert kept.pop("settings")["checkpoint"] == "step_000004"
    assert kept == found


def test_the_runs_page_shows_what_was_found_beside_its_training(compared, undrawn):
    undrawn.undo()
    found = evaluated(compared, checks=("silenced",))
    page = (compared / "report.html").read_text()
    assert "<h2>Evaluation: held_out</h2>" in page
    assert "<h2>Before and after training</h2>" in page
    for title in ("The team is better by", "What each agent adds"):
        assert f"<h3>{title}</h3>" in page
    assert f"{found['tokens_per_question']:,.0f}</td>" in page


def test_an_untrained_team_has_a_page_beside_its_figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate_run(small(tmp_path), Request(limit=4), display="none")
    assert "<h2>Evaluation: held_out-first_4</h2>" in (tmp_path / "eval" / "report.html").read_text()


def test_a_page_that_cannot_be_written_costs_no_figures(compared, monkeypatch, capsys):
    def full(run):
        raise RunFailed("The disk is full.", fix="make room")

    monkeypatch.setattr(evaluating, "write_report", full)
    request = Request(run=compared, baselines=())
    found = evaluate_run(small(compared.parent, "eval.baselines=[single]"), request, display="plain")
    assert found["n"] == 12
    assert "The report could not be written: The disk is full." in capsys.readouterr().err


def test_a_majority_costs_about_what_the_team_does(compared):
    found = evaluated(compared)
    team, single = found["tokens_per_question"], found["baselines"]["single"]["tokens_per_question"]
    votes = rows_of(found["baselines"]["majority"])[0]["turns"]
    assert {turn["agent"] for turn in votes} == {"single"}
    assert len(votes) == round(team / single) > 1
    assert found["baselines"]["majority"]["tokens_per_question"] == pytest.approx(
        team, rel=0.5 / len(votes) + 0.1
    )


def test_an_agent_that_is_silenced_says_nothing_and_those_before_it_are_not_asked_again(compared):
    found = evaluated(compared, baselines=(), checks=("silenced",))
    records = Path(found["records"])
    team = rows_of(found)
    for place, agent in enumerate(("planner", "researcher", "analyst")):
        rows = rows_of({"records": records.with_name(f"held_out.without_{agent}.records.jsonl")})
        for own, whole in zip(rows, team, strict=True):
            texts = [turn["text"] for turn in own["turns"]]
            assert texts[:place] == [turn["text"] for turn in whole["turns"]][:place]
            assert texts[place] == ""
            assert len(texts) == 4
            assert own["tokens"] < whole["tokens"]
        lost = sum(row["correct"] for row in team) - sum(row["correct"] for row in rows)
        assert found["contributions"][agent]["difference"] == pytest.approx(lost / len(team))


def test_options_that_are_shuffled_stay_the_same_options(compared):
    found = evaluated(compared, baselines=(), checks=("shuffled",))
    rows = rows_of({"records": Path(found["records"]).with_name("held_out.shuffled.records.jsonl")})
    moved = 0
    for own, whole in zip(rows, rows_of(found), strict=True):
        assert own["options"][own["gold"]] == whole["options"][whole["gold"]]
        assert sorted(own["options"].values()) == sorted(whole["options"].values())
        moved += own["options"] != whole["options"]
    assert moved > len(rows) / 2


def test_each_seed_answers_each_question(compared):
    found = evaluated(compared, baselines=(), sampled=True, seeds=3)
    rows = rows_of(found)
    assert len(rows) == 3 * found["n"]
    assert len(found["by_seed"]) == 3
    texts = [[row["turns"][0]["text"] for row in rows if row["seed"] == seed] for seed in range(3)]
    assert texts[0] != texts[1] != texts[2]


def test_an_evaluation_that_is_cut_short_goes_on_to_the_same_figures(compared, monkeypatch):
    whole = evaluated(compared, checks=("shuffled",))
    folder = compared / "eval"
    texts = {path.name: path.read_text() for path in folder.glob("held_out*.jsonl")}
    asked: list[str] = []

    def killed(player, episodes, **options):
        asked.append(options["records"].name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer_all(player, episodes, **options)

    answer_all = evaluating.answer_all
    monkeypatch.setattr(evaluating, "answer_all", killed)
    with pytest.raises(Interrupted, match="answers so far are kept"):
        evaluated(compared, checks=("shuffled",))
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"(?s)cut short.*--resume"):
        evaluated(compared, checks=("shuffled",))
    with pytest.raises(ConfigError, match=r"(?s)another value of seeds.*Fix: "):
        evaluated(compared, seeds=2, resume=True)
    again = evaluated(compared, checks=("shuffled",), resume=True)
    assert without_records(again) == without_records(whole)
    assert {path.name: path.read_text() for path in folder.glob("held_out*.jsonl")} == texts


def test_an_evaluation_that_was_cut_short_before_its_first_answer_just_begins_anew(compared, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluating, "answer_all", killed)
    with pytest.raises(Interrupted, match="answers so far are kept"):
        evaluated(compared, baselines=())
    monkeypatch.undo()
    assert evaluated(compared, baselines=())["n"] == 12


def test_records_of_an_earlier_evaluation_are_no_part_of_one_that_goes_on(compared, monkeypatch):
    evaluated(compared, baselines=("untrained",))
    old = compared / "eval" / "held_out.untrained.records.jsonl"
    old.write_text("".join(line.replace('"valid": false', '"valid": true') for line in old.open()))
    answer_all = evaluating.answer_all

    def killed(player, episodes, **options):
        if options["records"].name == old.name:
            raise KeyboardInterrupt
        return answer_all(player, episodes, **options)

    monkeypatch.setattr(evaluating, "answer_all", killed)
    with pytest.raises(Interrupted, match="answers so far are kept"):
        evaluated(compared, baselines=("untrained",))
    monkeypatch.undo()
    assert not old.exists()
    found = evaluated(compared, baselines=("untrained",), resume=True)
    assert all(
        row["valid"] == (row["answer"] is not None) for row in rows_of(found["baselines"]["untrained"])
    )


def test_a_baseline_that_the_run_did_not_train_is_refused_by_name_and_nothing_is_begun(run):
    with pytest.raises(ConfigError, match="did not train the baseline 'single'"):
        evaluate_run(small(run.parent), Request(run=run, baselines=("majority",)), display="none")
    assert ask(run)["n"] == 12, "it is not taken for one that was cut short"


def test_an_untrained_team_stands_beside_agents_that_start_as_it_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started: list[str] = []
    cold_start_session = systems.cold_start_session

    def counted(session, narrator):
        started.append(session.config.team.names[0])
        cold_start_session(session, narrator)

    monkeypatch.setattr(systems, "cold_start_session", counted)
    found = evaluate_run(small(tmp_path), Request(limit=4), display="none")
    assert list(found["baselines"]) == ["single", "majority", "reporter_alone"]
    assert started == ["planner"], "once for all of them"
    assert (tmp_path / "eval" / "held_out-first_4.json").is_file()


def test_an_evaluation_leaves_the_records_of_one_whose_name_begins_alike(compared, tmp_path):
    file = tmp_path / "held_out.v2.jsonl"
    write_questions(file, islice(benchmark("clinic").evaluation(0), 20, 24))
    other = Path(evaluated(compared, data=file, baselines=())["records"])
    evaluated(compared, baselines=())
    assert other.is_file()


def test_a_part_of_the_questions_does_not_replace_all_of_them(compared):
    whole = Path(evaluated(compared, baselines=())["records"])
    kept = whole.read_text()
    assert Path(evaluated(compared, baselines=(), limit=2)["records"]) != whole
    assert whole.read_text() == kept


def test_what_was_elected_has_no_report_of_its_own(compared):
    found = evaluated(compared)["baselines"]["majority"]
    assert found["votes"] == len(rows_of(found)[0]["turns"])
    assert not {"official", "calibration", "safety", "reward"} & set(found)


def test_without_a_run_the_untrained_team_is_compared_with_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)compared with itself.*--run"):
        evaluate_run(small(tmp_path), Request(limit=2, baselines=("untrained",)), display="none")


@pytest.mark.parametrize("text", ["nonsense", '{"settings": {}}', '{"accuracy": 1}'])
def test_a_damaged_note_says_what_to_remove(compared, text):
    evaluated(compared, baselines=())
    note = compared / "eval" / "held_out.json"
    kept = note.read_text()
    note.write_text(text)
    try:
        with pytest.raises(RunFailed, match=rf"(?s)Fix: remove {note}"):
            evaluated(compared, baselines=(), resume=True)
    finally:
        note.write_text(kept)


def test_shuffled_options_never_stand_as_they_did(compared):
    evaluated(compared, checks=("shuffled",))
    folder = compared / "eval"
    plain, turned = (
        [json.loads(line)["options"] for line in (folder / name).open()]
        for name in ("held_out.records.jsonl", "held_out.shuffled.records.jsonl")
    )
    for one, other in zip(plain, turned, strict=True):
        assert one != other
        assert set(one.values()) == set(other.values())
