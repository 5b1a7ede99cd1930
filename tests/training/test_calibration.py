"""Calibration by hand, and beside scikit-learn's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from maporl_cli.training.calibration import Bin, calibration, reliability

SAID = [0.0, 0.05, 0.15, 0.15, 0.95, 1.0]
CAME = [False, True, False, True, True, True]


def test_by_hand():
    assert reliability(SAID, CAME) == [
        Bin(pytest.approx(0.025), 0.5, 2),
        Bin(pytest.approx(0.15), 0.5, 2),
        Bin(pytest.approx(0.975), 1.0, 2),
    ]
    found = calibration(SAID, CAME, base=0.5)
    assert found == pytest.approx(
        {
            "brier": (0 + 0.95**2 + 0.15**2 + 0.85**2 + 0.05**2 + 0) / 6,
            "brier_base": 0.25,
            "calibration_error": (0.475 + 0.35 + 0.025) / 3,
            # of 4 · 2 pairs: .05 beats 0 only, .15 beats 0 and ties with .15, the other two beat both
            "auc": (1 + 1.5 + 2 + 2) / 8,
        }
    )


def test_where_only_one_thing_happens_there_is_no_order_to_get_right():
    assert "auc" not in calibration([0.2, 0.9], [True, True], 0.5)
    assert calibration([1.0, 1.0], [True, True], 1.0) == {
        "brier": 0.0,
        "brier_base": 0.0,
        "calibration_error": 0.0,
    }


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.floats(0, 1))
def test_as_scikit_learn_has_it(told, base):
    predicted, happened = [p for p, _ in told], [came for _, came in told]
    found = calibration(predicted, happened, base)
    assert found["brier"] == pytest.approx(brier_score_loss(happened, predicted, pos_label=True))
    assert found["brier_base"] == pytest.approx(
        brier_score_loss(happened, [base] * len(told), pos_label=True)
    )
    assert 0 <= found["calibration_error"] <= 1
    assert sum(one.count for one in reliability(predicted, happened)) == len(told)
    if len(set(happened)) == 2:
        assert found["auc"] == pytest.approx(roc_auc_score(happened, predicted))
