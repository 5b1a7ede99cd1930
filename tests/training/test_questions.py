"""The data cursor, which is the step."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import question

from maporl_cli.core.config import TrainConfig
from maporl_cli.training.questions import question_batch, total_steps


def asked(count):
    return [question(f"q{index}") for index in range(count)]


def ids(count, steps, size, seed=0):
    return [[q.id for q in question_batch(asked(count), step, size, seed)] for step in steps]


@given(st.integers(1, 13), st.integers(1, 6), st.integers(1, 4), st.integers(0, 5))
def test_every_question_comes_once_an_epoch(count, size, epochs, seed):
    steps = -(-count * epochs // size)
    flat = [name for batch in ids(count, range(1, steps + 1), size, seed) for name in batch]
    for epoch in range(epochs):
        part = flat[epoch * count : (epoch + 1) * count]
        assert sorted(part) == sorted(q.id for q in asked(count))
    counts = Counter(flat)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_every_batch_is_full_also_across_epochs():
    assert [len(batch) for batch in ids(5, range(1, 8), 3)] == [3] * 7
    assert [len(batch) for batch in ids(2, [1], 7)] == [7]


def test_each_epoch_has_its_own_order():
    epochs = ids(20, range(1, 7), 20)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert [q.id for q in asked(20)] not in epochs


def test_the_seed_decides_the_order():
    assert ids(20, [1], 20, seed=1) != ids(20, [1], 20, seed=2)


def test_a_pure_function_of_the_step():
    in_order = ids(7, range(1, 12), 3)
    backwards = ids(7, range(11, 0, -1), 3)
    assert backwards[::-1] == in_order
    assert ids(7, [5], 3) == [in_order[4]]
    # another run in between, as a baseline in the same process is
    ids(9, range(1, 9), 4, seed=3)
    assert ids(7, [5], 3) == [in_order[4]]


@pytest.mark.parametrize(
    ("settings", "questions", "steps"),
    [
        ({"num_epochs": 1, "batch_size": 4}, 8, 2),
        ({"num_epochs": 1, "batch_size": 4}, 9, 3),
        ({"num_epochs": 3, "batch_size": 4}, 9, 7),
        ({"num_epochs": 15, "batch_size": 8}, 1, 2),
        ({"num_epochs": 3, "batch_size": 4, "max_steps": 5}, 9, 5),
    ],
)
def test_total_steps(settings, questions, steps):
    assert total_steps(TrainConfig.model_validate(settings), questions) == steps
