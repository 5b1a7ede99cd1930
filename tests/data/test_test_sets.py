from __future__ import annotations

from pathlib import Path

import pytest

from maporl_cli.core.types import Question
from maporl_cli.data.test_sets import test_set_of_name as of_name
from maporl_cli.data.test_sets import test_set_of_row as of_row


@pytest.mark.parametrize(
    "name", ["medqa_test_first600.jsonl", "test.json", "us-Test.jsonl", "test2.jsonl", "my.test.jsonl"]
)
def test_the_word_test_in_a_name_counts(name: str):
    assert of_name(Path("anywhere") / name) == "its name has the word 'test'"


@pytest.mark.parametrize(
    "name", ["contest.jsonl", "latest.jsonl", "train.jsonl", "testing.jsonl", "data.test.d/x.jsonl"]
)
def test_other_names_do_not(name: str):
    assert of_name(Path(name)) is None


@pytest.mark.parametrize(
    ("name", "labels", "found"),
    [
        ("Text-20", {}, "MedXpertQA"),
        ("MM-7", {}, "MedXpertQA"),
        ("test-00000", {}, "MedQA's test split"),
        ("q-1", {"subject": "college_medicine"}, "MMLU"),
        ("Text-20b", {}, None),
        ("train-00000", {}, None),
        ("test-0", {}, None),
        ("q-1", {"subject": "Anatomy"}, None),
        ("q-1", {}, None),
    ],
)
def test_ids_and_subjects_tell_public_test_sets(name: str, labels: dict[str, str], found: str | None):
    told = of_row(Question(id=name, text="t", options={}, answer="a", labels=labels))
    assert told is None if found is None else told is not None and told.startswith(found)
