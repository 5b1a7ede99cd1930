from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maporl_cli.cli.data import app
from maporl_cli.core.errors import ConfigError, DataError, MissingError, UsageError
from maporl_cli.core.types import Question
from maporl_cli.data import benchmarks
from maporl_cli.data.reading import read_questions

run = CliRunner().invoke


def questions(first: int, number: int) -> list[Question]:
    return [
        Question(
            id=f"q{i}",
            text=" ".join(f"w{i}x{place}" for place in range(40)),
            options={"A": "x", "B": "y"},
            answer="AB"[i % 2],
            labels={"kind": "ab"[i % 2]},
        )
        for i in range(first, first + number)
    ]


class Toy:
    name = "clinic"
    roles = "clinic"

    def train(self, seed: int) -> Iterator[Question]:
        return (replace(question, rationale=f"seed {seed}") for question in questions(0, 40))

    def evaluation(self, seed: int) -> Iterator[Question]:
        return iter(questions(100, 10))

    def bounds(self, seed: int) -> dict[str, float]:
        return {"chance": 0.5, "perfect team": 1.0}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "_registered", {"clinic": Toy()})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.jsonl"
    rows = [
        {"id": q.id, "question": q.text, "options": dict(q.options), "label": q.answer, **q.labels}
        for q in questions(0, 20)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.usefixtures("toy")
def test_sample_writes_both_parts_and_the_bounds(tmp_path: Path):
    done = run(
        app, ["sample", "--out", str(tmp_path), "--seed", "3", "--train", "12", "--eval", "5", "--json"]
    )
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "benchmark": "clinic",
        "seed": 3,
        "train": {"path": str(tmp_path / "train.jsonl"), "questions": 12},
        "eval": {"path": str(tmp_path / "eval.jsonl"), "questions": 5},
        "bounds": {"chance": 0.5, "perfect team": 1.0},
    }
    written = list(read_questions(tmp_path / "train.jsonl"))
    assert [q.id for q in written] == [f"q{i}" for i in range(12)]
    assert written[0].rationale == "seed 3"
    assert [q.id for q in read_questions(tmp_path / "eval.jsonl")] == [f"q{i}" for i in range(100, 105)]


@pytest.mark.usefixtures("toy")
def test_sample_writes_all_there_is_and_says_if_that_is_less(tmp_path: Path):
    done = run(app, ["sample", "--out", str(tmp_path), "--train", "50"])
    assert f"{tmp_path / 'train.jsonl'}: 40 questions" in done.stdout
    assert "chance" in done.stdout
    assert "0.500" in done.stdout
    assert "clinic has 40 questions for --train; 50 were asked for." in done.stderr


@pytest.mark.usefixtures("toy")
def test_files_that_are_there_are_not_overwritten_silently(tmp_path: Path, file: Path):
    (tmp_path / "train.jsonl").write_text("mine")
    for arguments in (["sample"], ["split", str(file), "--eval-fraction", "0.2"]):
        refused = run(app, [*arguments, "--out", str(tmp_path)])
        assert isinstance(refused.exception, ConfigError)
        assert (tmp_path / "train.jsonl").read_text() == "mine"
    assert run(app, ["sample", "--out", str(tmp_path), "--overwrite"]).exit_code == 0
    assert (tmp_path / "train.jsonl").read_text() != "mine"


def test_validate_prints_a_table_for_each_file(file: Path):
    done = run(app, ["validate", str(file), str(file)])
    assert done.exit_code == 0
    assert done.stdout.count(str(file)) == 2
    assert "A 10, B 10" in done.stdout
    assert "medxpertqa (hub) 20" in done.stdout


def test_validate_lists_every_bad_row_and_fails(file: Path, tmp_path: Path):
    file.write_text(file.read_text() + "\n{\n" * 8)
    done = run(app, ["validate", str(file)])
    assert isinstance(done.exception, DataError)
    assert done.exception.exit_code == 3
    for line in range(21, 37, 2):
        assert f"{file}, line {line}: not JSON" in done.stdout
    in_json = run(app, ["validate", str(file), "--json"])
    assert len(json.loads(in_json.stdout)["files"][0]["bad"]) == 8
    assert isinstance(in_json.exception, DataError)
    (tmp_path / "empty.jsonl").write_text("")
    told = run(app, ["validate", str(tmp_path / "empty.jsonl")]).exception
    assert isinstance(told, DataError)
    assert "max_bad_rows" not in told.fix  # there is nothing to leave out


def test_split_writes_two_files(file: Path):
    done = run(app, ["split", str(file), "--eval-fraction", "0.2", "--stratify", "kind", "--json"])
    assert done.exit_code == 0
    folder = file.parent / "file-split"
    assert json.loads(done.stdout) == {
        "train": {"path": str(folder / "train.jsonl"), "questions": 16},
        "eval": {"path": str(folder / "eval.jsonl"), "questions": 4},
        "unused": 0,
        "clusters": 20,
        "bad": [],
    }
    held_out = list(read_questions(folder / "eval.jsonl"))
    assert sorted(q.labels["kind"] for q in held_out) == ["a", "a", "b", "b"]


def test_split_by_counts_says_what_is_unused_and_what_was_bad(file: Path, tmp_path: Path):
    file.write_text("{}\n" + file.read_text())
    arguments = [
        "split",
        str(file),
        "--train",
        "10",
        "--eval",
        "5",
        "--seed",
        "2",
        "--out",
        str(tmp_path / "o"),
    ]
    assert isinstance(run(app, arguments).exception, DataError)
    done = run(app, [*arguments, "--max-bad-rows", "1"])
    assert done.exit_code == 0
    assert "5 rows are unused" in done.stdout
    assert f"{file}, line 1: left out, 'question' is missing" in done.stderr
    assert len(list(read_questions(tmp_path / "o" / "train.jsonl"))) == 10


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        ["--train", "3"],
        ["--eval", "3"],
        ["--eval-fraction", "0.2", "--train", "3"],
        ["--eval-fraction", "0.2", "--train", "3", "--eval", "2"],
        ["--eval-fraction", "0"],
        ["--eval-fraction", "1"],
    ],
)
def test_split_needs_a_fraction_or_both_counts(file: Path, sizes: list[str]):
    assert isinstance(run(app, ["split", str(file), *sizes]).exception, UsageError)


def test_fetch_prints_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    row = {"pubid": 1, "question": "Does it?", "context": {"contexts": ["c"]}, "final_decision": "yes"}
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: [row, {}])
    arguments = ["fetch", "pubmedqa", "--out", str(tmp_path)]
    assert isinstance(run(app, arguments).exception, DataError)
    done = run(app, [*arguments, "--max-bad-rows", "1", "--json"])
    path = str(tmp_path / "pubmedqa_labeled.jsonl")
    told = json.loads(done.stdout)
    assert told["files"] == [
        {"path": path, "questions": 1, "bad": [{"place": "row 2", "reason": "'question' is missing"}]}
    ]
    assert "500 of these 1,000 rows" in told["note"]
    assert isinstance(run(app, arguments).exception, ConfigError)


def test_fetch_offline_says_how_to_bring_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("offline")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    done = run(app, ["fetch", "medmcqa", "--out", str(tmp_path)])
    assert isinstance(done.exception, MissingError)
    assert done.exception.exit_code == 4
