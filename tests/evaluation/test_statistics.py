import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.evaluation.statistics import wilson

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
