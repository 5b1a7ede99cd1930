"""Our likeliest letters against lm-evaluation-harness: its own medical tasks, a real model, real questions.

`make test-peers` runs this in an environment that has the harness; elsewhere it is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

lm_eval = pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness: make test-peers")

from maporl_cli.agents.build import default_device  # noqa: E402
from maporl_cli.agents.pull import pull  # noqa: E402
from maporl_cli.core.config_sources import load_config  # noqa: E402
from maporl_cli.core.types import Episode, Question  # noqa: E402
from maporl_cli.data.reading import read_questions  # noqa: E402
from maporl_cli.data.writing import write_questions  # noqa: E402
from maporl_cli.evaluation.letters import Letters  # noqa: E402
from maporl_cli.worker import Request, evaluate_run  # noqa: E402
from maporl_cli.worker import evaluate as evaluating  # noqa: E402

MODEL = "smollm2-135m"


Doc = dict[str, Any]


def mmlu(question: Question) -> Doc:
    return {
        "question": question.text,
        "choices": list(question.options.values()),
        "answer": list(question.options).index(question.answer),
    }


def medqa(question: Question) -> Doc:
    endings = {f"ending{place}": text for place, text in enumerate(question.options.values())}
    return {"sent1": question.text, "label": list(question.options).index(question.answer)} | endings


def medmcqa(question: Question) -> Doc:
    options = dict(zip(("opa", "opb", "opc", "opd"), question.options.values(), strict=True))
    return {"question": question.text, "cop": list(question.options).index(question.answer)} | options


def pubmedqa(question: Question) -> Doc:
    return {
        "QUESTION": question.text,
        "CONTEXTS": [snippet.text for snippet in question.evidence],
        "final_decision": question.options[question.answer],
    }


def theirs(
    tasks: Mapping[str, Sequence[Question]], doc: Callable[[Question], Doc], folder: Path
) -> dict[str, Doc]:
    """The harness's own record of each question, by its id: its tasks as published, over our rows.

    Args:
        tasks: the file of each task, and what it asks.
        doc: a question as the task's data set has it.
    """
    published = Path(lm_eval.__file__).parent / "tasks"
    own: list[str] = []
    for file, questions in tasks.items():
        rows = folder / f"{Path(file).stem}.jsonl"
        rows.write_text("".join(json.dumps({"id": one.id} | doc(one)) + "\n" for one in questions))
        of_ours = {
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"test": str(rows)}},
            "training_split": None,
            "validation_split": None,
            "test_split": "test",
            "fewshot_split": "test",  # must be there, although no example is shown
        }
        task = folder / f"{Path(file).stem}.yaml"
        task.write_text(json.dumps({"include": str(published / file)} | of_ours))
        own.append(str(task))
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(pull(MODEL, on_progress=lambda _: None)), "dtype": "float32"},
        tasks=own,
        num_fewshot=0,
        batch_size=8,
        device=str(default_device()),
        bootstrap_iters=0,
    )
    return {record["doc"]["id"]: record for told in found["samples"].values() for record in told}


def ours(request: Request, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Episode]]:
    """What the command finds, and the episodes that it is found from."""
    played: list[Episode] = []

    class Kept(Letters):
        def play_all(self, batches, draws, on_end):
            super().play_all(batches, draws, on_end)
            played.extend(episode for batch in batches for episode in batch)

    monkeypatch.setattr(evaluating, "Letters", Kept)
    sets = [f"model.name={MODEL}", "model.dtype=fp32"]
    config = load_config(preset="smollm2", sets=sets).config
    return evaluate_run(config, request, display="none"), played


def compare(found: dict[str, Any], played: Sequence[Episode], records: Mapping[str, Doc]) -> None:
    """Letter by letter, and how likely each was, since a small model nearly always says A; then what is made
    of them."""
    assert len(played) == len(records) == found["n"]
    differ: dict[str, list[float]] = {}
    for episode in played:
        record, letters = records[episode.question.id], list(episode.question.options)
        logprobs = [logprob for logprob, _ in record["filtered_resps"]]
        likeliest = max(range(len(logprobs)), key=logprobs.__getitem__)
        if episode.answer != letters[likeliest]:
            differ[episode.question.id] = logprobs
        (turn,) = episode.turns
        chosen = logprobs[letters.index(episode.answer or "")]
        assert sum(turn.logprobs) == pytest.approx(chosen, abs=1e-3)
    assert not differ
    accuracy = sum(record["acc"] for record in records.values()) / len(records)
    assert found["accuracy"] == pytest.approx(accuracy)


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")


@pytest.mark.timeout(3600)
def test_every_letter_of_mmlu_is_the_harnesss(shared_data, tmp_path, monkeypatch):
    file = shared_data / "mmlu_medical_500.jsonl"
    by_subject: dict[str, list[Question]] = {}
    for question in read_questions(file):
        by_subject.setdefault(question.labels["subject"], []).append(question)
    tasks = {f"mmlu/default/mmlu_{subject}.yaml": asked for subject, asked in sorted(by_subject.items())}
    found, played = ours(Request(data=file, loglikelihood=True), monkeypatch)
    compare(found, played, theirs(tasks, mmlu, tmp_path))
    assert len(found["letters"]) > 1, "a model that always says the same would agree with anything"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("benchmark", "split", "task", "doc", "file", "rows"),
    [
        ("medqa", "test", "medqa/medqa.yaml", medqa, "medqa_test_first600.jsonl", 100),
        # There are no rows of MedMCQA at hand; to the format it does not matter whose they are.
        ("medmcqa", "validation", "medmcqa/medmcqa.yaml", medmcqa, "mmlu_medical_500.jsonl", 100),
        ("pubmedqa", "labeled", "pubmedqa/pubmedqa.yaml", pubmedqa, "pubmedqa_pqal_train500.json", 40),
    ],
)
def test_every_letter_of_a_benchmark_is_the_harnesss(
    shared_data, tmp_path, monkeypatch, benchmark, split, task, doc, file, rows
):
    questions = list(islice(read_questions(shared_data / file), rows))
    write_questions(tmp_path / "data" / f"{benchmark}_{split}.jsonl", questions)
    found, played = ours(Request(benchmark=benchmark, loglikelihood=True), monkeypatch)
    compare(found, played, theirs({task: questions}, doc, tmp_path))
