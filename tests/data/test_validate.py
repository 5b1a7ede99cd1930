from __future__ import annotations

import json
from pathlib import Path

from maporl_cli.data.reading import BadRow
from maporl_cli.data.validate import Repeats, validate

LONG = " ".join(f"word{number}" for number in range(40))


def row(text: str, label: str = "A", options: tuple[str, ...] = ("x", "y"), **fields: object) -> str:
    return json.dumps({"question": text, "options": list(options), "label": label, **fields})


def test_a_report_counts_and_places_everything(tmp_path: Path):
    path = tmp_path / "file.jsonl"
    path.write_text(
        "\n".join(
            [
                row(LONG, "A"),
                row("Which metal is it?", "B"),
                "",
                row(LONG.upper(), "B"),
                "{broken",
                row(LONG + " more"),
                row("which metal  is it?", "A", ("y", "x")),
                json.dumps({"question": "Free?", "answer": "Yes."}),
                row("Which other thing?", "D", ("k", "l", "m", "n"), subject="virology"),
                row("No label?", ""),
                row(LONG, ""),
                json.dumps({"question": "Free?", "answer": None}),
            ]
        )
    )
    report = validate(path)
    assert (report.questions, report.unlabelled) == (10, 3)
    assert report.formats == {"list of options": 8, "free text": 2}
    assert report.options == {0: 2, 2: 7, 4: 1}
    assert report.letters == {"A": 3, "B": 2, "D": 1}
    assert report.bad == [
        BadRow("line 5", "not JSON: Expecting property name enclosed in double quotes at column 2"),
    ]
    assert report.exact == Repeats(
        4, [["line 1", "line 4", "line 11"], ["line 2", "line 7"], ["line 8", "line 12"]]
    )
    # Line 11 says nothing, so it contradicts nobody.
    # Lines 2 and 7 both have "y" as their gold answer, under another letter.
    assert report.conflicts == Repeats(2, [["line 1", "line 4", "line 11"]])
    assert report.near == Repeats(1, [["line 1", "line 6"]])
    assert report.test_set == "line 9 is from MMLU, whose medical subjects have no training split"
    told = report.to_json()
    assert (told["rows"], told["questions"], told["unlabelled"]) == (11, 10, 3)
    assert told["options"] == {"0": 2, "2": 7, "4": 1}
    assert told["bad"][0]["place"] == "line 5"
    assert told["exact_duplicates"]["rows"] == 4
    assert json.loads(json.dumps(told)) == told


def test_a_file_without_faults(tmp_path: Path):
    path = tmp_path / "file.jsonl"
    path.write_text(row("Which one?"))
    report = validate(path)
    assert (report.bad, report.test_set, report.exact, report.near) == (
        [],
        "",
        Repeats(0, []),
        Repeats(0, []),
    )
    assert report.to_json()["test_set"] is None


def test_a_broken_json_file_is_reported_where_it_breaks(tmp_path: Path):
    path = tmp_path / "file.json"
    path.write_text(f"[{row('Which one?')}, {row('Which other')[:-5]}")
    report = validate(path)
    assert report.questions == 1
    assert report.bad == [BadRow("after row 1", "it ends in the middle of a value")]


def test_a_file_with_no_row_is_reported(tmp_path: Path):
    path = tmp_path / "file.jsonl"
    path.write_text("\n")
    assert validate(path).questions == 0


def test_the_real_files(shared_data: Path):
    mmlu = validate(shared_data / "mmlu_medical_500.jsonl")
    assert (mmlu.questions, mmlu.exact.rows, mmlu.conflicts.rows, mmlu.near.rows) == (500, 16, 0, 0)
    medqa = validate(shared_data / "medqa_test_first600.jsonl")
    assert medqa.test_set == "its name has the word 'test'"
    assert (medqa.exact.rows, medqa.near) == (0, Repeats(1, [["line 317", "line 383"]]))
