import gc
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from maporl_cli.evaluation.statistics import (
    Bin,
    above_chance,
    bootstrap,
    brier,
    expected_calibration_error,
    holm,
    macro_f1,
    mcnemar,
    reliability,
    wilson,
)

Z = 1.959963984540054  # the 97.5 % point of the normal distribution


def by_hand(correct: int, n: int) -> tuple[float, float]:
    share = correct / n
    middle = share + Z**2 / (2 * n)
    spread = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return (middle - spread) / (1 + Z**2 / n), (middle + spread) / (1 + Z**2 / n)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_equals_the_published_formula(table: tuple[int, int]) -> None:
    assert wilson(*table) == pytest.approx(by_hand(*table), abs=1e-9)


def test_a_known_table() -> None:
    assert wilson(3, 10) == pytest.approx((0.1077912674, 0.6032218525), abs=1e-9)


def test_nothing_right_and_everything_right_leave_no_certainty() -> None:
    low, high = wilson(0, 20)
    assert low == pytest.approx(0, abs=1e-12)
    assert 0.1 < high < 0.2
    low, high = wilson(20, 20)
    assert 0.8 < low < 0.9
    assert high == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_proportion_is_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(correct, n)


def test_mcnemar_equals_the_binomial_test_on_a_thousand_tables() -> None:
    generator = np.random.default_rng(0)
    for better, worse in generator.integers(0, 400, size=(1000, 2)).tolist():
        told = stats.binomtest(better, better + worse, 0.5).pvalue if better + worse else 1.0
        assert mcnemar(better, worse) == pytest.approx(told, abs=1e-9)


def test_mcnemar_of_a_table_counted_by_hand() -> None:
    # Of six questions that only one of the two got right, it was the same one in five: 2 · (1 + 6) / 2^6.
    assert mcnemar(5, 1) == mcnemar(1, 5) == pytest.approx(14 / 64, abs=1e-12)
    assert mcnemar(0, 0) == 1


def stepwise(p_values: list[float]) -> list[float]:
    """Holm's procedure from its definition: the k-th smallest of m, times m − k + 1, never falling."""
    adjusted, highest = dict[int, float](), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return [adjusted[place] for place in range(len(p_values))]


@pytest.fixture(scope="module")
def little_garbage() -> Iterator[None]:
    """statsmodels collects garbage at every call: seconds, in a process that ran thousands of tests."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("little_garbage")
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_its_definition(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(stepwise(p_values), abs=1e-9)


def test_holm_of_three_by_hand() -> None:
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06], abs=1e-12)


def test_the_bootstrap_of_many_agrees_with_the_normal_interval() -> None:
    values = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], size=2000, p=[0.1, 0.7, 0.2])
    half = Z * values.std() / math.sqrt(len(values))
    low, high = bootstrap(values.tolist(), within=(-1, 1), seed=0)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * 2 * half)


def test_the_bootstrap_is_the_same_for_the_same_seed_only() -> None:
    values = [0.0, 1.0, 1.0, 0.5] * 10
    assert bootstrap(values, within=(-1, 1), seed=3) == bootstrap(values, within=(-1, 1), seed=3)


@pytest.mark.parametrize("n", [1, 12, 400])
def test_without_spread_there_is_doubt_all_the_same(n: int) -> None:
    """None of n questions differed: as many may as Clopper and Pearson's interval allows."""
    most = stats.binomtest(0, n).proportion_ci(0.95, method="exact").high
    assert bootstrap([0.0] * n, within=(0, 1), seed=0) == pytest.approx((0, most))
    assert bootstrap([1.0] * n, within=(0, 1), seed=0) == pytest.approx((1 - most, 1))
    assert bootstrap([0.0] * n, within=(-1, 1), seed=0) == pytest.approx((-most, most))
    low, high = bootstrap([0.25] * n, within=(-1, 1), seed=0)
    assert (low, high) == pytest.approx((0.25 - 1.25 * most, 0.25 + 0.75 * most))


def test_the_bootstrap_covers_what_it_should() -> None:
    """Of 200 samples of a known mean, the 95 % interval holds it in about 190."""
    generator = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        values = generator.choice([0.0, 1.0], size=100, p=[0.6, 0.4]).tolist()
        low, high = bootstrap(values, within=(0, 1), seed=seed)
        held += low <= 0.4 <= high
    assert 180 <= held <= 198


def test_chance_is_zero_and_all_right_is_one() -> None:
    assert above_chance(0.1, 0.1) == 0
    assert above_chance(1, 0.1) == 1
    assert above_chance(0.55, 0.1) == pytest.approx(0.5)
    assert above_chance(0, 0.25) == pytest.approx(-1 / 3)


def test_macro_f1_by_hand() -> None:
    gold = ["yes", "yes", "no", "maybe"]
    told = ["yes", "no", "no", None]
    # yes: precision 1, recall 1/2; no: 1/2 and 1; maybe: never found.
    assert macro_f1(gold, told) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3, abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["A", "B", "C", None])), min_size=1))
def test_macro_f1_equals_its_definition(pairs: list[tuple[str, str | None]]) -> None:
    counts = Counter(pairs)
    scores = []
    for kind in {gold for gold, _ in pairs}:
        hits = counts[kind, kind]
        all_of_kind = sum(n for (gold, _), n in counts.items() if gold == kind)
        all_told = sum(n for (_, told), n in counts.items() if told == kind)
        scores.append(2 * hits / (all_of_kind + all_told))
    told = macro_f1([gold for gold, _ in pairs], [answer for _, answer in pairs])
    assert told == pytest.approx(sum(scores) / len(scores), abs=1e-9)


def test_calibration_by_hand() -> None:
    confidences = [0.95, 0.9, 0.55, 0.5, 0.1]
    correct = [True, False, True, True, False]
    bins = reliability(confidences, correct)
    assert [(one.low, one.n) for one in bins] == [(0.1, 1), (0.5, 2), (0.9, 2)]
    assert bins[2] == Bin(0.9, 1.0, 2, (0.95 + 0.9) / 2, 0.5)
    # 1/5 · |0 − .1| + 2/5 · |1 − .525| + 2/5 · |.5 − .925|
    assert expected_calibration_error(bins) == pytest.approx(0.02 + 0.19 + 0.17, abs=1e-9)
    expected = (0.05**2 + 0.9**2 + 0.45**2 + 0.5**2 + 0.1**2) / 5
    assert brier(confidences, correct) == pytest.approx(expected, abs=1e-9)


def test_whole_percents_fall_into_the_bin_that_begins_with_them() -> None:
    percents = [percent / 100 for percent in range(101)]
    bins = reliability(percents, [True] * len(percents))
    assert [one.n for one in bins] == [10] * 9 + [11]
