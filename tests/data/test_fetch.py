from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
import pytest
from datasets.exceptions import DatasetNotFoundError

from maporl_cli.core.errors import DataError, MissingError, UsageError
from maporl_cli.data.fetch import HUB_SETS, fetch, fetched, files_of
from maporl_cli.data.reading import BadRow, read_questions

LETTERS = "ABCDEFGHIJ"
HUB: dict[tuple[str, str | None, str], list[dict[str, object]]] = {
    ("TsinghuaC3I/MedXpertQA", "Text", split): [
        {
            "id": f"Text-{split}",
            "question": "Which?\nAnswer Choices: " + " ".join(f"({letter}) {letter}x" for letter in LETTERS),
            "options": {letter: f"{letter}x" for letter in LETTERS},
            "label": "J",
            "medical_task": "Treatment",
        }
    ]
    for split in ("dev", "test")
}
HUB |= {
    ("GBaker/MedQA-USMLE-4-options", None, split): [
        {
            "question": f"Which {split}?",
            "answer": "z",
            "options": {"A": "w", "B": "x", "C": "y", "D": "z"},
            "meta_info": "step1",
            "answer_idx": "D",
            "metamap_phrases": ["a"],
        }
    ]
    for split in ("train", "test")
}
HUB |= {
    ("openlifescienceai/medmcqa", None, split): [
        {"id": split, "question": "Q?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": 2, "exp": None}
    ]
    for split in ("train", "validation")
}
HUB["qiaojin/PubMedQA", "pqa_labeled", "train"] = [
    {
        "pubid": 1,
        "question": "Does it?",
        "context": {"contexts": ["c"], "labels": ["l"], "meshes": []},
        "long_answer": "No.",
        "final_decision": "no",
    }
]


MMLU = ("anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics")
HUB |= {
    ("cais/mmlu", subject, "test"): [
        {"question": f"Which {subject}?", "subject": subject, "choices": ["w", "x", "y", "z"], "answer": 1}
    ]
    for subject in (*MMLU, "professional_medicine")
}


def load(repository: str, config: str | None, split: str) -> Iterable[Mapping[str, object]]:
    return HUB[repository, config, split]


@pytest.mark.parametrize(
    ("name", "files", "answer"),
    [
        ("medxpert", ["medxpert_dev.jsonl", "medxpert_test.jsonl"], "J"),
        ("medqa", ["medqa_train.jsonl", "medqa_test.jsonl"], "D"),
        ("medmcqa", ["medmcqa_train.jsonl", "medmcqa_validation.jsonl"], "C"),
        ("pubmedqa", ["pubmedqa_labeled.jsonl"], "B"),
    ],
)
def test_each_set_is_written_as_questions(tmp_path: Path, name: str, files: list[str], answer: str):
    fetched = list(fetch(name, tmp_path, load=load))
    assert [one.path.name for one in fetched] == files
    assert [path.name for path in files_of(name, tmp_path)] == files
    for one in fetched:
        (question,) = read_questions(one.path)
        assert (question.answer, one.questions, one.bad) == (answer, 1, [])
        assert "Answer Choices" not in question.text


def test_every_known_set_is_tried_here():
    known = {(hub_set.repository, config) for hub_set in HUB_SETS.values() for config in hub_set.configs}
    assert known == {key[:2] for key in HUB}


def test_subjects_of_one_set_follow_one_another(tmp_path: Path):
    (one,) = fetch("mmlu-medical", tmp_path, load=load)
    found = list(read_questions(one.path))
    assert [question.labels["subject"] for question in found] == [*MMLU, "professional_medicine"]
    assert all(question.answer == "B" for question in found)


def test_a_split_that_is_there_is_not_fetched_again(tmp_path: Path):
    def never(*_: object) -> Iterable[Mapping[str, object]]:
        raise AssertionError("it is there")

    path = fetched("medxpert", None, tmp_path, load=load)
    assert path.name == "medxpert_test.jsonl"
    assert fetched("medxpert", None, tmp_path, load=never) == path
    assert list(tmp_path.iterdir()) == [path], "the other split may be a hundred times as large"
    assert fetched("medxpert", "dev", tmp_path, load=load).name == "medxpert_dev.jsonl"


@pytest.mark.parametrize(
    ("name", "split"),
    [("medqa", "test"), ("medmcqa", "validation"), ("pubmedqa", "labeled"), ("mmlu-medical", "test")],
)
def test_what_is_evaluated_on_where_no_split_is_named(tmp_path: Path, name: str, split: str):
    assert fetched(name, None, tmp_path, load=load) == tmp_path / f"{name}_{split}.jsonl"


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path):
    with pytest.raises(
        UsageError, match=r"(?s)no split 'train'.*dev, test; MedXpertQA has no training split"
    ):
        fetched("medxpert", "train", tmp_path, load=load)
    assert not list(tmp_path.iterdir())


def test_the_hub_is_read_through_datasets_as_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []

    def load_dataset(repository: str, config: str | None, *, split: str, streaming: bool) -> object:
        asked.append((repository, config, split, streaming))
        return load(repository, config, split)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    list(fetch("pubmedqa", tmp_path))
    assert asked == [("qiaojin/PubMedQA", "pqa_labeled", "train", True)]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach it\nand more"),
        DatasetNotFoundError("Dataset is gone"),
        httpx.ConnectError("no route"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_hub_out_of_reach_says_how_to_bring_the_file(tmp_path: Path, error: Exception, late: bool):
    def failing(repository: str, config: str | None, split: str) -> Iterable[Mapping[str, object]]:
        if late:
            yield HUB[repository, config, split][0]
        raise error

    with pytest.raises(MissingError) as caught:
        list(fetch("medqa", tmp_path, load=failing))
    message = caught.value.message
    assert caught.value.exit_code == 4
    assert str(error).splitlines()[0] in message
    assert "and more" not in message
    assert "https://huggingface.co/datasets/GBaker/MedQA-USMLE-4-options" in message
    assert message.splitlines()[-1].endswith(f"maporl data validate {tmp_path / 'medqa_train.jsonl'}")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_are_not_taken_for_a_missing_hub(tmp_path: Path):
    def broken(repository: str, config: str | None, split: str) -> Iterable[Mapping[str, object]]:
        raise KeyError(split)

    with pytest.raises(KeyError):
        list(fetch("medqa", tmp_path, load=broken))


def test_bad_rows_stop_unless_they_are_allowed(tmp_path: Path):
    def partly(repository: str, config: str | None, split: str) -> Iterable[Mapping[str, object]]:
        return [*HUB[repository, config, split], {"question": "Which?"}]

    with pytest.raises(DataError, match="1 rows of qiaojin/PubMedQA train are not questions") as caught:
        list(fetch("pubmedqa", tmp_path, load=partly))
    assert "row 2: no options" in caught.value.message
    assert caught.value.fix.endswith("maporl data fetch pubmedqa --max-bad-rows 1")
    assert list(tmp_path.iterdir()) == []
    (fetched,) = fetch("pubmedqa", tmp_path, max_bad_rows=1, load=partly)
    assert [row.place for row in fetched.bad] == ["row 2"]
    assert isinstance(fetched.bad[0], BadRow)
    assert len(list(read_questions(fetched.path))) == 1


def test_an_unknown_set_is_a_usage_error_that_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean medmcqa"):
        files_of("medmcq", Path())
