"""Random numbers that belong to a place in the data."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import question

from maporl_cli.core.randomness import Greedy, Sampled, keyed_generator, shuffle_options
from maporl_cli.core.types import Episode, Question


def numbers(*key):
    return keyed_generator(*key).random(4).tolist()


def test_a_key_gives_the_same_stream_whatever_was_drawn_before():
    first = numbers("turn", 1, 2)
    numbers("another", 9)
    np.random.default_rng().random(3)
    assert numbers("turn", 1, 2) == first


def test_the_stream_is_pinned_so_that_no_release_changes_a_seed_silently():
    assert numbers("turn", 0, 1, "q1", 0, 0, "planner") == pytest.approx(
        [0.8071164528, 0.1480462497, 0.6233486897, 0.2896424546]
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), (2, 1)),
        ((1, "2"), (1, 2)),
        (("a", "bc"), ("ab", "c")),
        ((12, 3), (1, 23)),
        (("turn", 1), ("options", 1)),
    ],
)
def test_different_keys_give_different_streams(one, other):
    assert numbers(*one) != numbers(*other)


def test_streams_of_neighbouring_keys_are_not_correlated():
    draws = np.stack([keyed_generator("s", index).random(500) for index in range(20)])
    correlations = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
    assert np.abs(correlations).max() < 0.25
    assert draws.mean() == pytest.approx(0.5, abs=0.02)


def test_every_part_of_a_turns_place_changes_its_stream():
    draws = Sampled(3)

    def stream(draws=draws, *, name="q1", sample=0, step=1, round=0, agent="planner"):
        episode = Episode(question=question(name), sample=sample, step=step)
        return tuple(draws.generator(episode, round, agent).random(3))

    changed = [
        stream(),
        stream(Sampled(4)),
        stream(name="q2"),
        stream(sample=1),
        stream(step=2),
        stream(round=1),
        stream(agent="analyst"),
    ]
    assert len(set(changed)) == len(changed)
    assert stream() == stream()


def test_greedy_has_no_stream():
    assert Greedy().generator(Episode(question=question(), sample=0, step=1), 0, "planner") is None


FIVE = question("q7", answer="C", options=["v", "w", "x", "y", "z"])


def test_shuffling_keeps_letters_texts_and_the_gold_text():
    shown = shuffle_options(FIVE, 0, 1)
    assert list(shown.options) == list("ABCDE")
    assert sorted(shown.options.values()) == list("vwxyz")
    assert shown.options[shown.answer] == "x"
    assert (shown.id, shown.text) == (FIVE.id, FIVE.text)
    assert dict(FIVE.options) == dict(zip("ABCDE", "vwxyz", strict=True))


@given(
    texts=st.lists(st.text(max_size=3), min_size=1, max_size=10),
    gold=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(0, 10_000),
)
def test_gold_text_survives_any_shuffle(texts, gold, seed, step):
    texts = [f"{index} {text}" for index, text in enumerate(texts)]
    gold %= len(texts)
    shown = shuffle_options(question("q", "ABCDEFGHIJ"[gold], texts), seed, step)
    assert shown.options[shown.answer] == texts[gold]
    assert sorted(shown.options.values()) == sorted(texts)


def test_letters_other_than_the_first_ones_are_kept():
    odd = Question(id="q", text="t", options={"A": "x", "C": "y", "F": "z"}, answer="F")
    shown = shuffle_options(odd, 0, 3)
    assert list(shown.options) == ["A", "C", "F"]
    assert shown.options[shown.answer] == "z"


def test_one_order_a_step_and_question():
    assert shuffle_options(FIVE, 0, 1) == shuffle_options(FIVE, 0, 1)
    orders = {tuple(shuffle_options(FIVE, 0, step).options.values()) for step in range(30)}
    assert len(orders) > 15
    others = [question(f"q{index}", "C", list("vwxyz")) for index in range(30)]
    assert len({tuple(shuffle_options(other, 0, 1).options.values()) for other in others}) > 15
    assert len({tuple(shuffle_options(FIVE, seed, 1).options.values()) for seed in range(30)}) > 15


def test_the_gold_letter_is_uniform():
    counts = Counter(shuffle_options(FIVE, 0, step).answer for step in range(2000))
    assert set(counts) == set("ABCDE")
    # 400 expected, standard deviation 18
    assert all(abs(count - 400) < 75 for count in counts.values())


def test_a_free_text_question_stays_as_it_is():
    free = Question(id="q", text="t", options={}, answer="aspirin")
    assert shuffle_options(free, 0, 1) is free


def test_options_are_shuffled_without_a_gold_answer_as_with_one():
    nobody_knows = replace(FIVE, answer="")
    for step in range(5):
        shown = shuffle_options(nobody_knows, 0, step)
        assert shown.options == shuffle_options(FIVE, 0, step).options
        assert not shown.has_gold
