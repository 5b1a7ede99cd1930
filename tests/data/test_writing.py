from __future__ import annotations

from pathlib import Path

import pytest

from maporl_cli.core.errors import ConfigError, MaporlError
from maporl_cli.core.types import Question
from maporl_cli.data.reading import read_questions
from maporl_cli.data.writing import refuse_existing, write_questions, writing_questions

QUESTIONS = [
    Question(id=f"q{i}", text="Which é\u2028one?", options={"A": "x", "B": "y"}, answer="B") for i in range(3)
]


def test_what_is_written_is_read_back(tmp_path: Path):
    path = tmp_path / "new" / "file.jsonl"
    assert write_questions(path, QUESTIONS) == 3
    assert list(read_questions(path)) == QUESTIONS
    assert [entry.name for entry in path.parent.iterdir()] == ["file.jsonl"]


def test_a_file_that_is_not_completed_is_not_there(tmp_path: Path):
    path = tmp_path / "file.jsonl"
    write_questions(path, QUESTIONS[:1])

    def break_off() -> None:
        with writing_questions(path) as write:
            write(QUESTIONS[1])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert list(read_questions(path)) == QUESTIONS[:1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.jsonl"]


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MaporlError, match="cannot be written"):
        write_questions(tmp_path / "file" / "x.jsonl", QUESTIONS)


def test_a_file_that_is_there_is_refused(tmp_path: Path):
    there, absent = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    refuse_existing([there, absent], overwrite=False)
    there.write_text("")
    with pytest.raises(ConfigError, match=r"a\.jsonl exists already"):
        refuse_existing([absent, there], overwrite=False)
    refuse_existing([absent, there], overwrite=True)
