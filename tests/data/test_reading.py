from __future__ import annotations

import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from maporl_cli.core.errors import DataError
from maporl_cli.data import json_stream
from maporl_cli.data.formats import read_row
from maporl_cli.data.reading import BadRow, QuestionReader, read_questions

GOOD = {"question": "Which?", "options": ["x", "y"], "label": "A"}


def row(name: str, **changes: object) -> str:
    return json.dumps({"id": name, **GOOD, **changes})


def written(tmp_path: Path, content: str | bytes, name: str = "file.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def ids(path: Path) -> list[str]:
    return [question.id for question in read_questions(path)]


@pytest.mark.parametrize(
    ("name", "rows", "options", "form"),
    [
        ("medxpertqa_text_sampled.jsonl", 244, 10, "medxpertqa"),
        ("medqa_test_first600.jsonl", 600, 4, "choices in the question"),
        ("mmlu_medical_500.jsonl", 500, 4, "choices in the question"),
        ("pubmedqa_pqal_train500.json", 500, 3, "pubmedqa"),
    ],
)
def test_every_published_file_is_read_whole(shared_data: Path, name: str, rows: int, options: int, form: str):
    reader = QuestionReader(shared_data / name)
    questions = [question for _, question in reader]
    assert reader.bad == []
    assert reader.formats == Counter({form: rows})
    assert len({question.id for question in questions}) == rows
    for question in questions:
        assert list(question.options) == list("ABCDEFGHIJ"[:options])
        assert question.answer in question.options
        assert "Answer Choices" not in question.text
        assert not any("Answer Choices" in text or "(A)" in text for text in question.options.values())


def test_choices_in_the_text_are_those_of_the_options_field(shared_data: Path, tmp_path: Path):
    lines = (shared_data / "medxpertqa_text_sampled.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    bare = [{key: value for key, value in row.items() if key != "options"} for row in rows]
    path = written(tmp_path, "\n".join(map(json.dumps, bare)))
    from_text = list(read_questions(path))
    assert from_text == list(read_questions(shared_data / "medxpertqa_text_sampled.jsonl"))
    assert len(from_text) == 244


def test_blank_lines_line_ends_and_a_byte_order_mark_are_no_rows(tmp_path: Path):
    lines = "\ufeff" + row("a") + "\r\n\r\n  \n" + row("b", question="With\u2028a break") + "\r\n" + row("c")
    reader = QuestionReader(written(tmp_path, lines))
    assert [(place, question.id) for place, question in reader] == [
        ("line 1", "a"),
        ("line 4", "b"),
        ("line 5", "c"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        f"[{row('a')}, {row('b')}]",
        f"\ufeff  [{row('a')},\r\n{row('b')}]\n",
        f'{{"a": {json.dumps(GOOD)}, "b": {json.dumps(GOOD)}}}',
        row("a") + "\n" + row("b"),
        row("a")
        + json.dumps({"options": {"A": "x", "B": "y"}, "label": "A", "question": "Which?", "id": "b"}),
    ],
)
def test_a_json_file_holds_an_array_an_object_of_rows_or_rows(tmp_path: Path, content: str):
    assert ids(written(tmp_path, content, "file.json")) == ["a", "b"]


def test_the_key_of_a_row_is_its_id_and_its_place(tmp_path: Path):
    path = written(tmp_path, json.dumps({"101": GOOD, "102": "x"}), "file.json")
    reader = QuestionReader(path, max_bad_rows=1)
    assert [(place, question.id) for place, question in reader] == [("row 1 (key 101)", "101")]
    assert reader.bad == [BadRow("row 2 (key 102)", "not an object but text")]


def test_every_bad_row_is_listed_with_its_place_and_reason(tmp_path: Path):
    lines = [
        row("a").encode(),
        b"{broken",
        b'{"id": "\xff"}',
        b"[1, 2]",
        row("b", label="C").encode(),
        b'{"question": "q", "label": "A", "label": "B"}',
        b'{"question": "q", "options": {"A": "x", "A": "y"}, "label": "A"}',
        row("a").encode(),
        b"[" * 100_000,
        b'{"id": ' + b"9" * 5000 + b"}",
        row("c", question="\ud800").encode(),
        row("d").encode(),
        b'{"question": "q',
    ]
    reader = QuestionReader(written(tmp_path, b"\n".join(lines)), max_bad_rows=None)
    assert [question.id for _, question in reader] == ["a", "d"]
    assert [(bad.place, bad.reason) for bad in reader.bad] == [
        ("line 2", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("line 3", "bad unicode: byte 9 of the line is not UTF-8"),
        ("line 4", "not an object but a list"),
        ("line 5", "the gold letter C is not among the options A, B"),
        ("line 6", "two fields of an object have the same name 'label'"),
        ("line 7", "duplicate letter: two options are A"),
        ("line 8", "its id is also the id of an earlier row"),
        ("line 9", "not a row: nested too deeply"),
        ("line 10", "not JSON that can be read: a number is too long"),
        ("line 11", "bad unicode in 'question' (half of a surrogate pair)"),
        ("line 13", "not JSON: Unterminated string starting at column 14"),
    ]


def test_a_json_file_has_the_same_reasons(tmp_path: Path):
    rows = [
        '{"question": "q", "label": "A", "label": "B"}',
        '{"question": "q", "options": {"A": "x", "A": "y"}, "label": "A"}',
        '{"question": "q", "options": [{"letter": "A", "letter": "B"}], "label": "A"}',
        row("c", question="\ud800"),
        "7",
        row("d"),
    ]
    reader = QuestionReader(written(tmp_path, f"[{','.join(rows)}]", "file.json"), max_bad_rows=None)
    assert [(place, question.id) for place, question in reader] == [("row 6", "d")]
    assert [(bad.place, bad.reason) for bad in reader.bad] == [
        ("row 1", "two fields of an object have the same name 'label'"),
        ("row 2", "duplicate letter: two options are A"),
        ("row 3", "two fields of an object have the same name 'letter'"),
        ("row 4", "bad unicode in 'question' (half of a surrogate pair)"),
        ("row 5", "not an object but a number"),
    ]


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (b"", "it ends too early: ']' is missing"),
        (b",", "it ends in the middle of a value"),
        (b',{"id": "Jane', "it ends in the middle of a value"),
        (b',{"id": "Jane" "Roe"}' + b" " * 20, "not JSON: Expecting ',' delimiter"),
        (b" Jane]", "not JSON: ']' is missing"),
        (b"," + b"[" * 100_000, "nested too deeply"),
        (b"," + b"9" * 5000 + b"]", "a number is too long"),
    ],
)
def test_a_json_file_that_breaks_off_is_never_taken_for_whole(tmp_path: Path, rest: bytes, reason: str):
    path = written(tmp_path, b"[" + row("a").encode() + rest, "file.json")
    with pytest.raises(DataError, match=reason) as caught:
        list(read_questions(path, max_bad_rows=100))
    assert "Jane" not in caught.value.message
    lenient = QuestionReader(path, max_bad_rows=None)
    assert [question.id for _, question in lenient] == ["a"]
    assert lenient.bad[-1].place == "after row 1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{1: 2}", "not JSON"),
        ('{"a" 2}', "not JSON: ':' is missing"),
        ('{"a": {},}', "not JSON"),
        ("[{},]", "not JSON"),
        ("]", "not JSON"),
    ],
)
def test_text_that_is_nearly_json_is_refused(tmp_path: Path, content: str, reason: str):
    with pytest.raises(DataError, match=reason):
        list(read_questions(written(tmp_path, content + " " * 20, "file.json"), max_bad_rows=9))


def test_a_json_file_with_bytes_that_are_not_utf8_loses_only_their_row(tmp_path: Path):
    content = f"[{row('a')}, {row('b', question='X')}, {row('c')}]".encode().replace(b"X", b"\xe9")
    reader = QuestionReader(written(tmp_path, content, "file.json"), max_bad_rows=1)
    assert [question.id for _, question in reader] == ["a", "c"]
    assert reader.bad == [BadRow("row 2", "bad unicode: it holds bytes that are not UTF-8")]


def test_bad_rows_beyond_those_allowed_stop_with_the_first_few(tmp_path: Path):
    lines = [row("a"), "{", row("b"), "[]", row("c"), *["7"] * 10]
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(DataError) as caught:
        list(read_questions(path))
    message = caught.value.message
    assert caught.value.exit_code == 3
    assert str(path) in message
    assert "line 2: not JSON" in message
    assert "line 4: not an object but a list" in message
    assert "line 6: not an object but a number" in message
    assert "line 9" not in message
    assert f"maporl data validate {path}" in message.splitlines()[-1]
    assert "data.max_bad_rows=N" in message


def test_no_question_behind_too_many_bad_rows_is_given_out(tmp_path: Path):
    path = written(tmp_path, "\n".join([row("a"), "{", row("b")]))
    questions = read_questions(path)
    assert next(questions).id == "a"
    with pytest.raises(DataError):
        next(questions)


@pytest.mark.parametrize(("allowed", "stops"), [(0, True), (1, True), (2, False), (3, False)])
def test_as_many_bad_rows_as_allowed_are_left_out(tmp_path: Path, allowed: int, stops: bool):
    path = written(tmp_path, "\n".join(["{", row("a"), "{"]))
    reader = QuestionReader(path, max_bad_rows=allowed)
    if stops:
        with pytest.raises(DataError):
            list(reader)
    else:
        assert [question.id for _, question in reader] == ["a"]
        assert len(reader.bad) == 2


@pytest.mark.parametrize(
    ("name", "content"), [("f.jsonl", ""), ("f.json", ""), ("f.json", "[]"), ("f.jsonl", "\n\n")]
)
def test_a_file_with_no_question_is_an_error(tmp_path: Path, name: str, content: str):
    with pytest.raises(DataError, match="holds no question"):
        list(read_questions(written(tmp_path, content, name)))


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path):
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(DataError, match="cannot be read") as caught:
            list(read_questions(path))
        assert str(path) in caught.value.message


def test_limit_ends_reading(tmp_path: Path):
    path = written(tmp_path, "\n".join([row("a"), row("b"), "{"]))
    assert [question.id for question in read_questions(path, limit=2)] == ["a", "b"]


def test_repeated_rows_without_ids_keep_ids_of_their_own(tmp_path: Path):
    line = json.dumps(GOOD)
    first, second, third = ids(written(tmp_path, "\n".join([line] * 3)))
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_a_reader_can_be_read_twice(tmp_path: Path):
    reader = QuestionReader(written(tmp_path, "\n".join([row("a"), "{", json.dumps(GOOD)])), max_bad_rows=1)
    assert list(reader) == list(reader)
    assert len(reader.bad) == 1
    assert reader.formats.total() == 2


@pytest.mark.parametrize("shape", ["lines", "array", "object"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, shape: str):
    path = tmp_path / ("big.jsonl" if shape == "lines" else "big.json")
    start, between, end = {"lines": ("", "\n", ""), "array": ("[", ",", "]"), "object": ("{", ",", "}")}[
        shape
    ]
    with path.open("w") as file:
        file.write(start)
        for number in range(1000):
            key = f'"{number}":' if shape == "object" else ""
            file.write((between if number else "") + key + row(f"r{number}", question="word " * 4000))
        file.write(end)
    tracemalloc.start()
    assert sum(1 for _ in read_questions(path)) == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 20e6
    assert peak < 2e6


@pytest.mark.parametrize("block", [1, 2, 3, 7, 50])
def test_a_json_file_reads_the_same_however_it_is_cut_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
):
    monkeypatch.setattr(json_stream, "_BLOCK", block)
    rows = [
        row("a", question='é 😀 \\ " \u2028 Answer'),
        row("b", year=-12.5e3, flag=True, other=[1, [], {}, None]),
        row("c", question="😀" * 30, far=-math.inf),
    ]
    ascii_and_not = [
        json.dumps(json.loads(line), ensure_ascii=number % 2 == 0) for number, line in enumerate(rows)
    ]
    for content in (f"[ {' , '.join(ascii_and_not)} ]", "\n".join([*rows, "17", "true"])):
        path = written(tmp_path, content, "file.json")
        reader = QuestionReader(path, max_bad_rows=2)
        assert [question for _, question in reader] == [read_row(json.loads(line))[0] for line in rows]
        assert [bad.reason for bad in reader.bad] in (
            [],
            ["not an object but a number", "not an object but true or false"],
        )
