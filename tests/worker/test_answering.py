"""`maporl eval --scoring loglikelihood`: whose letters are weighed, and what is made of them."""

from __future__ import annotations

import json
import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import PAYING_FOR_IDS, go, small

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.models import eos_ids, load_model, load_tokenizer
from maporl_cli.agents.team import Team
from maporl_cli.agents.tiny import END, tiny_model, tiny_tokenizer
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError, Interrupted, MissingError
from maporl_cli.core.randomness import Greedy
from maporl_cli.core.types import Episode
from maporl_cli.data.benchmarks import benchmark
from maporl_cli.evaluation.letters import Letters
from maporl_cli.evaluation.zero_shot import ZeroShot
from maporl_cli.worker import Request, evaluate_run
from maporl_cli.worker import evaluate as evaluating
from maporl_cli.worker.answering import answering_alone

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = "The following are multiple choice questions (with answers). A. B. C. D. E. Answer: A B C D E".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Config, Path]:
    """A run of a small model that has words for the prompt, and every step of which learns."""
    folder = tmp_path_factory.mktemp("letters")
    tokenizer = tiny_tokenizer([*benchmark("clinic").vocabulary(), *WORDS])
    model, end = tiny_model(tokenizer, seed=0), int(tokenizer.get_vocab()[END])
    with torch.no_grad():  # or it would end none of its turns, and from turns that are cut nothing is learned
        model.get_input_embeddings().weight[end] *= 20
    CausalPolicy(model, tokenizer, frozenset({end})).save(folder / "model")
    plugin = folder / "ids.py"
    plugin.write_text(PAYING_FOR_IDS)
    config = small(
        folder,
        f"model.name={folder / 'model'}",
        f"run.plugins=[{plugin}]",
        "reward.extra_weights={ids: 1}",
        "train.learning_rate=0.01",
        "eval.baselines=[]",
        "eval.batch_size=5",
        "train.guards=off",
    )
    return config, Path(go(config)["run"])


def weighed(trained: tuple[Config, Path], **options: Any) -> dict[str, Any]:
    config, run = trained
    return evaluate_run(config, Request(run=run, loglikelihood=True, **options), display="none")


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(found["records"]).read_text().splitlines()]


def letters_of(model: Path) -> list[str | None]:
    tokenizer, loaded = load_tokenizer(model), load_model(model, torch.float32)
    policy = CausalPolicy(loaded, tokenizer, eos_ids(loaded, tokenizer))
    episodes = [Episode(one, sample=0, step=0) for one in islice(benchmark("clinic").evaluation(0), 12)]
    Letters("reporter", policy).play_all([episodes], Greedy(), None)
    return [episode.answer for episode in episodes]


def test_the_agent_that_answers_is_asked_as_trained_and_as_it_was_before(trained):
    config, run = trained
    found = weighed(trained)
    before = found["baselines"].pop("untrained")
    assert not found["baselines"]
    assert [row["answer"] for row in rows_of(found)] == letters_of(run / "final_model" / "reporter")
    assert [row["answer"] for row in rows_of(before)] == letters_of(Path(config.model.name))
    assert [row["answer"] for row in rows_of(found)] != [row["answer"] for row in rows_of(before)]
    assert list(found["comparisons"]) == ["untrained"]


def test_nobody_speaks_and_nothing_is_earned(trained):
    found = weighed(trained, baselines=())
    assert (found["n"], found["invalid"], found["turns_per_question"]) == (12, 0, 1)
    assert sum(found["letters"].values()) == 12
    assert not {"reward", "safety", "calibration", "official"} & set(found)
    for row in rows_of(found):
        assert [(turn["agent"], turn["text"]) for turn in row["turns"]] == [("reporter", row["answer"])]
        assert row["sampled"] == 1


def test_no_sentence_encoder_is_needed(trained):
    config, run = trained
    reward = config.reward.model_copy(update={"similarity_model": "/no/such/encoder"})
    config = config.model_copy(update={"reward": reward})
    found = evaluate_run(config, Request(run=run, loglikelihood=True, baselines=()), display="none")
    assert found["n"] == 12
    with pytest.raises(MissingError, match="/no/such/encoder"):
        evaluate_run(config, Request(run=run, baselines=()), display="none")


def test_its_records_stand_beside_those_of_the_talk(trained):
    config, run = trained
    spoken = evaluate_run(config, Request(run=run, baselines=()), display="none")
    said = Path(spoken["records"]).read_text()
    found = weighed(trained, baselines=())
    assert Path(found["records"]).name == "held_out-loglikelihood.records.jsonl"
    assert Path(spoken["records"]).read_text() == said


def untimed(found: Any) -> Any:
    """Without how long it took."""
    if isinstance(found, dict):
        return {key: untimed(value) for key, value in found.items() if key != "seconds_per_question"}
    return found


def test_what_was_cut_short_goes_on_to_the_same_figures(trained, monkeypatch):
    whole = weighed(trained)
    texts = {path.name: path.read_text() for path in Path(whole["records"]).parent.glob("*.records.jsonl")}
    play, batches = Letters._play, []

    def killed(self, episodes):
        batches.append(len(episodes))
        if len(batches) == 2:
            raise KeyboardInterrupt
        play(self, episodes)

    monkeypatch.setattr(Letters, "_play", killed)
    with pytest.raises(Interrupted):
        weighed(trained)
    with pytest.raises(ConfigError, match=r"(?s)cut short.*--resume"):
        weighed(trained)
    assert untimed(weighed(trained, resume=True)) == untimed(whole)
    assert batches == [5, 5, 5, 2, 5, 5, 2], "the first batch is not asked again"
    assert texts == {
        path.name: path.read_text() for path in Path(whole["records"]).parent.glob("*.records.jsonl")
    }


def test_ctrl_c_is_heeded_before_the_next_batch(trained, monkeypatch):
    play, batches = Letters._play, []

    def interrupted(self, episodes):
        play(self, episodes)
        batches.append(len(episodes))
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Letters, "_play", interrupted)
    with pytest.raises(Interrupted, match="--resume"):
        weighed(trained)
    assert batches == [5]
    monkeypatch.setattr(Letters, "_play", play)
    assert weighed(trained, resume=True)["n"] == 12


def test_a_question_without_options_is_refused_before_a_model_is_read(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "Systems", lambda *_: pytest.fail("a minute for nothing"))
    file = tmp_path / "open.jsonl"
    file.write_text(json.dumps({"id": "q7", "question": "Which drug?", "answer": "aspirin"}))
    with pytest.raises(DataError, match=r"(?s)no letters.*question q7.*Fix: .*--scoring"):
        weighed(trained, data=file)


@pytest.mark.parametrize("request_", [Request(loglikelihood=True), Request(baselines=("zero_shot",))])
def test_tiny_policies_have_no_words_for_the_prompt(tmp_path, monkeypatch, request_):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)tiny policy.*Fix: .*--preset smollm2"):
        evaluate_run(small(tmp_path), request_, display="none")
    assert not (tmp_path / "eval").exists()


def test_a_server_has_words_for_everything(tmp_path):
    asked = list(islice(benchmark("clinic").evaluation(0), 1))
    config = answering_alone(small(tmp_path), asked, "--baselines zero_shot", served=True)
    assert config.team.names == ("reporter",)


def test_a_benchmark_is_asked_in_its_own_format(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    row = {"id": "q1", "question": "Does it?", "options": {"A": "A", "B": "B", "C": "C"}, "label": "A"}
    (tmp_path / "data" / "pubmedqa_labeled.jsonl").write_text(json.dumps(row) + "\n")
    asked: list[tuple[str, str]] = []
    encode = CausalPolicy.encode_plain
    monkeypatch.setattr(
        CausalPolicy, "encode_plain", lambda own, text: asked.append(text) or encode(own, text)
    )
    assert weighed(trained, benchmark="pubmedqa", baselines=())["n"] == 1
    assert asked[0] == "Abstract: \nQuestion: Does it?\nAnswer:"


def limited(config: Config, tokens: int) -> Config:
    return config.model_copy(
        update={"eval": config.eval.model_copy(update={"zero_shot_max_new_tokens": tokens})}
    )


def test_another_limit_asks_the_published_prompts_anew_and_nobody_else(trained, monkeypatch):
    config, run = trained
    plain = Request(run=run, baselines=("zero_shot",))
    short = evaluate_run(limited(config, 2), plain, display="none")
    before = rows_of(short["baselines"]["zero_shot"])
    monkeypatch.setattr(Team, "play_all", lambda _, batches, *__: batches and pytest.fail("asked already"))
    again = Request(run=run, baselines=("zero_shot",), resume=True)
    same = evaluate_run(limited(config, 2), again, display="none")
    assert rows_of(same["baselines"]["zero_shot"]) == before
    longer = evaluate_run(limited(config, 5), again, display="none")
    assert rows_of(longer) == rows_of(short)
    assert max(row["sampled"] for row in before) == 4
    assert max(row["sampled"] for row in rows_of(longer["baselines"]["zero_shot"])) > 4


def test_what_cannot_be_asked_as_published_is_told_before_anybody_is_asked(trained, monkeypatch):
    config, run = trained
    monkeypatch.setattr(Team, "play_all", lambda *_: pytest.fail("hours for nothing"))
    with pytest.raises(DataError, match=r"(?s)does not fit.*Fix: .*eval\.zero_shot_max_new_tokens"):
        evaluate_run(limited(config, 8192), Request(run=run, baselines=("zero_shot",)), display="none")


def test_the_published_prompts_are_put_to_the_model_as_training_found_it(trained):
    config, run = trained
    found = evaluate_run(limited(config, 5), Request(run=run, baselines=("zero_shot",)), display="none")
    rows = rows_of(found["baselines"]["zero_shot"])
    assert [[turn["agent"] for turn in row["turns"]] for row in rows] == [["reporter", "reporter"]] * 12
    start = Path(config.model.name)
    tokenizer, loaded = load_tokenizer(start), load_model(start, torch.float32)
    policy = CausalPolicy(loaded, tokenizer, eos_ids(loaded, tokenizer))
    episodes = [Episode(one, sample=0, step=0) for one in islice(benchmark("clinic").evaluation(0), 12)]
    player = ZeroShot("reporter", policy, max_new_tokens=5, temperature=1.0, stopping=lambda: False)
    player.play_all([episodes], Greedy(), None)
    assert [[turn["text"] for turn in row["turns"]] for row in rows] == [
        [turn.text for turn in episode.turns] for episode in episodes
    ]
