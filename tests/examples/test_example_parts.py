"""The parts in `examples/`, each by itself."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from example_files import load
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from support import question, scored, turn

from maporl_cli.agents.roles import role_book
from maporl_cli.core.config import RewardConfig, TrainConfig
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.data.benchmarks import Bounded, benchmark
from maporl_cli.data.duplicates import content_number
from maporl_cli.rewards.component import components
from maporl_cli.rewards.medical import Reward
from maporl_cli.training.advantage import estimators
from maporl_cli.training.credit import credit_rules

# --- the bigram policy -------------------------------------------------------------------------


def bigram(seed: int = 0) -> Any:
    """A policy with random weights, so that its choices are peaked and differ from word to word."""
    made = load("policy_bigram.py").Bigram()
    made.table.data.copy_(torch.tensor(keyed_generator("table", seed).normal(size=(10, 10)) * 1.5))
    return made


def streams(count: int) -> list[np.random.Generator]:
    return [keyed_generator("stream", index) for index in range(count)]


def test_bigram_compares_with_the_start_that_was_kept():
    policy = bigram()
    policy.keep_reference()
    before = policy.score([(0,)], [(3, 0)], temperature=1.0).logprobs.detach()
    policy.table.data.add_(torch.eye(10))
    assert torch.equal(policy.reference_logprobs([(0,)], [(3, 0)], temperature=1.0), before)
    assert not torch.equal(policy.score([(0,)], [(3, 0)], temperature=1.0).logprobs, before)


def test_bigram_samples_with_the_logprobs_that_score_gives():
    policy = bigram()
    prompts = [(0, *range(1, 1 + row % 9)) for row in range(40)]
    samples = policy.sample(prompts, streams(40), max_new_tokens=12, temperature=0.7)
    assert len({len(sample.token_ids) for sample in samples}) > 4
    scored = policy.score(prompts, [sample.token_ids for sample in samples], temperature=0.7)
    for row, sample in enumerate(samples):
        mine = scored.logprobs[row, : len(sample.token_ids)].tolist()
        assert mine == pytest.approx(sample.logprobs, abs=1e-6)
        assert sample.finished == (sample.token_ids[-1] == 0)
        assert 0 not in sample.token_ids[:-1]


def test_bigram_sampling_follows_the_softmax():
    policy = bigram()
    samples = policy.sample([(0, 4)] * 8_000, streams(8_000), max_new_tokens=2, temperature=1.4)
    softmax = (policy.table.detach() / 1.4).softmax(-1)
    first = torch.tensor([sample.token_ids[0] for sample in samples])
    assert torch.allclose(torch.bincount(first, minlength=10) / 8_000, softmax[4], atol=0.02)
    common = int(softmax[4, 1:].argmax()) + 1
    second = torch.tensor([sample.token_ids[1] for sample in samples if sample.token_ids[0] == common])
    share = torch.bincount(second, minlength=10) / len(second)
    assert torch.allclose(share, softmax[common], atol=4 * 0.5 / math.sqrt(len(second)))


def test_bigram_takes_the_likeliest_words_without_a_generator_and_is_cut_at_the_limit():
    policy = bigram()
    with torch.no_grad():
        policy.table.copy_(torch.eye(10).roll(1, dims=1) * 9)  # each word is followed by the next one
    (sample,) = policy.sample([(0, 6)], [None], max_new_tokens=9, temperature=1.0)
    assert (sample.token_ids, sample.finished) == ((7, 8, 9, 0), True)
    (cut,) = policy.sample([(0, 6)], [None], max_new_tokens=3, temperature=1.0)
    assert (cut.token_ids, cut.finished) == ((7, 8, 9), False)


def test_bigram_draws_a_turn_the_same_in_any_batch():
    policy = bigram()
    prompts = [(0, row % 10) for row in range(12)]
    together = policy.sample(prompts, streams(12), max_new_tokens=9, temperature=1.0)
    for row, stream in enumerate(streams(12)):
        mixed = policy.sample([(0, 3), prompts[row]], [None, stream], max_new_tokens=9, temperature=1.0)
        assert mixed[1] == together[row]


def test_bigram_gradient_and_entropy_are_the_softmaxs():
    policy = bigram()
    scored = policy.score([(0, 2)], [(5, 7)], temperature=0.5)
    scored.logprobs[0, 0].backward()
    chances = (policy.table.detach()[2] / 0.5).softmax(-1)
    expected = torch.zeros(10, 10)
    expected[2] = (torch.eye(10)[5] - chances) / 0.5
    assert torch.allclose(policy.trainable()["table"].grad, expected, atol=1e-6)
    logits = policy.table.detach()[[2, 5]] / 0.5
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    assert torch.allclose(scored.entropy[0], entropy, atol=1e-6)
    assert scored.entropy.requires_grad


def test_bigrams_reference_is_the_uniform_start():
    policy = bigram()
    reference = policy.reference_logprobs([(0,)], [(5, 7)], temperature=1.0)
    assert reference.tolist() == [[pytest.approx(-math.log(10))] * 2]
    assert not reference.requires_grad


def test_bigram_hears_the_words_it_knows_and_saves_its_table(tmp_path):
    policy = bigram()
    assert policy.encode("Options: (B) zinc. analyst: I doubt <end> (A)") == (0, 6, 1, 3, 5)
    assert policy.decode(policy.encode_turn("Answer: (C)")) == "Answer: (C)"
    assert policy.encode_turn("Answer: (C)") == (4, 7, 0)
    policy.save(tmp_path)
    words = json.loads((tmp_path / "words.json").read_text())
    table = load_file(tmp_path / "model.safetensors")["table"]
    assert table.shape == (len(words), len(words))
    assert torch.equal(table, policy.table)


# --- the triage benchmark ----------------------------------------------------------------------


@pytest.fixture
def triage() -> Any:
    load("benchmark_triage.py")
    return benchmark("triage")


def test_triage_is_deterministic_by_seed(triage):
    for side in (triage.train, triage.evaluation):
        assert list(side(3)) == list(side(3))
        contents = [[(asked.text, asked.context) for asked in side(seed)] for seed in (3, 4)]
        assert contents[0] != contents[1]


def test_triage_never_evaluates_on_a_ward_that_it_trains_on(triage):
    trained = [question for seed in range(3) for question in triage.train(seed)]
    judged = [question for seed in range(3) for question in triage.evaluation(seed)]
    wards = [{frozenset(question.options.values()) for question in side} for side in (trained, judged)]
    assert not wards[0] & wards[1]
    assert min(map(len, wards)) > 20
    assert not set(map(content_number, trained)) & set(map(content_number, judged))
    assert len({question.id for question in trained + judged}) == len(trained + judged)


def test_triages_answer_is_in_the_chart_alone(triage):
    for asked in [*triage.train(0), *triage.evaluation(0)]:
        sign = re.fullmatch(r"Which patient has the highest ([a-z ]+)\?", asked.text)
        assert sign is not None
        found = re.findall(rf"(\w+): [^.]*{sign[1]} (\d+)", asked.context)
        readings = {patient: int(reading) for patient, reading in found}
        assert sorted(readings) == sorted(asked.options.values())
        highest = max(readings, key=lambda patient: readings[patient])
        assert asked.options[asked.answer] == highest
        assert list(readings.values()).count(readings[highest]) == 1


def test_triages_bounds_and_no_letter_is_a_good_guess(triage):
    assert isinstance(triage, Bounded)
    chance = triage.bounds(0)["chance"]
    answers = [question.answer for question in triage.train(0)]
    for letter in "ABCD":
        assert answers.count(letter) / len(answers) == pytest.approx(chance, abs=0.04)


# --- the brevity component ---------------------------------------------------------------------


def brevity(*texts: str, answer: str | None = "A", asked: Question | None = None, **turns: Any) -> Any:
    """The measure of an episode in which planner and reporter alternate."""
    load("reward_brevity.py")
    said = [
        turn(("planner", "reporter")[index % 2], round=index // 2, text=text, **turns)
        for index, text in enumerate(texts)
    ]
    episode = Episode(asked or question(), sample=0, step=1, turns=said, answer=answer)
    return components()["brevity"](episode)


def test_brevity_pays_short_right_teams():
    assert brevity("look it up", "Answer: A").value == 1.0
    assert brevity("a" * 80, "b" * 80).value == 1.0
    assert brevity("a" * 140, "b" * 340).value == pytest.approx(0.5)
    assert brevity("a" * 400, "b" * 400).value == 0.0
    assert "400 characters" in brevity("a" * 500, "b" * 300).reason


@pytest.mark.parametrize(
    ("texts", "turns", "reason"),
    [
        (("", "Answer: A"), {}, "the planner said nothing"),
        (("...", "Answer: A"), {}, "the planner said nothing"),
        (("look it up", " \n"), {}, "the reporter said nothing"),
        (("look it", "Answer: A"), {"finished": False}, "the planner was cut at its limit"),
    ],
)
def test_brevity_pays_nothing_for_saying_nothing_or_being_cut(texts, turns, reason):
    measured = brevity(*texts, **turns)
    assert measured.value == 0.0
    assert measured.reason.startswith(reason)


@pytest.mark.parametrize("answer", ["B", None])
def test_brevity_pays_nothing_for_a_wrong_or_unreadable_answer(answer):
    assert brevity("look it up", "Answer: B", answer=answer).value == 0.0


def test_brevity_counts_all_rounds_and_does_not_apply_to_free_text():
    assert brevity("a" * 100, "b" * 100, "a" * 100, "b" * 100) == brevity("a" * 200, "b" * 200)
    free = Question(id="f", text="Why?", options={}, answer="A")
    assert brevity("look it up", "A", asked=free) is None


@given(
    st.lists(st.text("ab \n.", max_size=300), min_size=2, max_size=6),
    st.lists(st.text("ab \n.", max_size=300), min_size=2, max_size=6),
    st.floats(0.01, 50),
)
def test_no_wrong_answer_out_earns_a_right_one_whatever_brevity_weighs(right, wrong, weight):
    load("reward_brevity.py")
    reward = Reward(
        RewardConfig(extra_weights={"brevity": weight}, similarity_model=None), role_book("guide")
    )
    group = [
        Episode(question(), sample, 1, [_said(index, text) for index, text in enumerate(texts)], answer)
        for sample, (texts, answer) in enumerate([(right, "A"), (wrong, "B"), (wrong, None)])
    ]
    reward.score([group])
    totals = [episode.score.total for episode in group if episode.score is not None]
    assert totals[0] > max(totals[1:])


def _said(index: int, text: str) -> Turn:
    return turn(("planner", "reporter")[index % 2], text=text)


# --- the estimator and the credit rule ----------------------------------------------------------


def test_the_median_of_the_others_is_what_a_turn_is_compared_with():
    advantages = load("estimator_median.py").over_the_median
    # means 1, .1, none, 0; the medians of the others .05, .5, –, .55
    assert advantages([[1.0], [0.0, 0.2], [], [0.0]]) == [
        [pytest.approx(0.95)],
        [pytest.approx(-0.5), pytest.approx(-0.3)],
        [],
        [pytest.approx(-0.55)],
    ]
    assert advantages([[1.0]]) == [[0.0]]
    assert estimators()["median"].advantages([[[1.0], [0.0], [0.0], [0.0]]], list) == [
        [[1.0], [0.0], [0.0], [0.0]]
    ]


def test_each_turn_pays_for_its_own_tokens_and_no_more_than_a_fifth():
    load("credit_thrift.py")
    episode = scored([turn("planner", tokens=100), turn("reporter", tokens=1000)], 0.8)
    assert credit_rules()["thrift"](episode, TrainConfig()) == pytest.approx([0.75, 0.6])
