"""Our likeliest letters against lm-evaluation-harness: its own MMLU tasks, a real model, real questions.

`make test-peers` runs this in an environment that has the harness; elsewhere it is skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

lm_eval = pytest.importorskip("lm_eval", reason="needs lm-evaluation-harness: make test-peers")

from maporl_cli.agents.build import default_device  # noqa: E402
from maporl_cli.agents.pull import pull  # noqa: E402
from maporl_cli.core.config_sources import load_config  # noqa: E402
from maporl_cli.core.types import Episode, Question  # noqa: E402
from maporl_cli.data.reading import read_questions  # noqa: E402
from maporl_cli.evaluation.letters import Letters  # noqa: E402
from maporl_cli.worker import Request, evaluate_run  # noqa: E402
from maporl_cli.worker import evaluate as evaluating  # noqa: E402

MODEL = "smollm2-135m"


def theirs(questions: list[Question], model: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """The harness's own record of each question, by its id: its tasks as published, over our rows."""
    published = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    tasks: list[str] = []
    for subject in sorted({question.labels["subject"] for question in questions}):
        rows = [
            {
                "id": question.id,
                "question": question.text,
                "choices": list(question.options.values()),
                "answer": list(question.options).index(question.answer),
            }
            for question in questions
            if question.labels["subject"] == subject
        ]
        file, task = folder / f"{subject}.jsonl", folder / f"{subject}.yaml"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        of_ours = {
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(file)}},
            "fewshot_split": "test",  # must be there, although no example is shown
        }
        task.write_text(json.dumps({"include": str(published / f"mmlu_{subject}.yaml")} | of_ours))
        tasks.append(str(task))
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32"},
        tasks=tasks,
        num_fewshot=0,
        batch_size=8,
        device=str(default_device()),
        bootstrap_iters=0,
    )
    return {record["doc"]["id"]: record for own in found["samples"].values() for record in own}


def ours(file: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Episode]]:
    """What the command finds, and the episodes that it is found from."""
    played: list[Episode] = []

    class Kept(Letters):
        def play_all(self, batches, draws, on_end):
            super().play_all(batches, draws, on_end)
            played.extend(episode for batch in batches for episode in batch)

    monkeypatch.setattr(evaluating, "Letters", Kept)
    sets = [f"model.name={MODEL}", "model.dtype=fp32"]
    config = load_config(preset="smollm2", sets=sets).config
    return evaluate_run(config, Request(data=file, loglikelihood=True), display="none"), played


@pytest.mark.timeout(3600)
def test_every_letter_is_the_harnesss(shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    file = shared_data / "mmlu_medical_500.jsonl"
    questions = list(read_questions(file))
    their_records = theirs(questions, pull(MODEL, on_progress=lambda _: None), tmp_path)
    found, played = ours(file, monkeypatch)

    assert len(played) == len(their_records) == len(questions) == 500
    differ: dict[str, list[float]] = {}
    for episode in played:
        record = their_records[episode.question.id]
        logprobs = [logprob for logprob, _ in record["filtered_resps"]]
        likeliest = max(range(4), key=logprobs.__getitem__)
        if episode.answer != "ABCD"[likeliest]:
            differ[episode.question.id] = logprobs
        (turn,) = episode.turns
        chosen = logprobs["ABCD".index(episode.answer or "")]
        assert sum(turn.logprobs) == pytest.approx(chosen, abs=1e-3)
    assert not differ
    accuracy = sum(record["acc"] for record in their_records.values()) / len(their_records)
    assert found["accuracy"] == pytest.approx(accuracy)
    assert len(found["letters"]) > 1, "a model that always says the same would agree with anything"
