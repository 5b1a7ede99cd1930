from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from support import split_in_memory

from maporl_cli.core.errors import DataError
from maporl_cli.data import split_file as module
from maporl_cli.data.duplicates import content_number
from maporl_cli.data.partition import Side, Sizes
from maporl_cli.data.reading import BadRow, read_questions
from maporl_cli.data.split_file import split_file


def test_a_split_file_is_what_split_gives(shared_data: Path, tmp_path: Path):
    path = shared_data / "mmlu_medical_500.jsonl"
    train, held_out = tmp_path / "out" / "train.jsonl", tmp_path / "out" / "eval.jsonl"
    sizes = Sizes(eval_fraction=0.3)
    report = split_file(path, train, held_out, sizes, seed=5, stratify="subject")
    assert (report.train, report.eval, report.unused, report.clusters, report.bad) == (350, 150, 0, 484, [])
    expected = split_in_memory(list(read_questions(path)), sizes, seed=5, stratify="subject")
    assert (list(read_questions(train)), list(read_questions(held_out))) == expected


def test_every_row_is_written_once_or_counted(shared_data: Path, tmp_path: Path):
    path = shared_data / "pubmedqa_pqal_train500.json"
    train, held_out = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    report = split_file(path, train, held_out, Sizes(train=120, eval=80), seed=0)
    assert (report.train, report.eval, report.unused) == (120, 80, 300)
    source = {question.id: question for question in read_questions(path)}
    parts = [list(read_questions(part)) for part in (train, held_out)]
    assert [len(part) for part in parts] == [120, 80]
    assert all(source[question.id] == question for part in parts for question in part)
    numbers = [{content_number(question) for question in part} for part in parts]
    assert not numbers[0] & numbers[1]


def row(number: int) -> str:
    words = " ".join(f"w{number}x{place}" for place in range(40))
    return json.dumps({"id": str(number), "question": words, "options": ["x", "y"], "label": "A"})


def test_bad_rows_stop_or_are_reported(tmp_path: Path):
    path = tmp_path / "file.jsonl"
    path.write_text("\n".join([row(1), "{}", *map(row, range(2, 11))]))
    train, held_out = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    with pytest.raises(DataError, match="line 2: 'question' is missing"):
        split_file(path, train, held_out, Sizes(eval_fraction=0.2), seed=0)
    assert not train.exists()
    report = split_file(path, train, held_out, Sizes(eval_fraction=0.2), seed=0, max_bad_rows=1)
    assert report.bad == [BadRow("line 2", "'question' is missing")]
    assert (report.train, report.eval) == (8, 2)


def test_that_the_sides_share_nothing_is_checked_on_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "file.jsonl"
    path.write_text("\n".join([row(1), row(1).replace('"1"', '"2"')]))
    monkeypatch.setattr(module, "assign", lambda *_, **__: [Side.TRAIN, Side.EVAL])
    with pytest.raises(DataError, match=r"train.jsonl line 1 = eval.jsonl line 1"):
        split_file(path, tmp_path / "train.jsonl", tmp_path / "eval.jsonl", Sizes(eval_fraction=0.5), seed=0)


def test_memory_stays_far_below_the_file(tmp_path: Path):
    path = tmp_path / "file.jsonl"
    with path.open("w") as file:
        for number in range(600):
            file.write(row(number)[:-1] + ', "rationale": "' + "long " * 8000 + '"}\n')
    tracemalloc.start()
    split_file(path, tmp_path / "train.jsonl", tmp_path / "eval.jsonl", Sizes(eval_fraction=0.2), seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 24e6
    assert peak < 4e6
