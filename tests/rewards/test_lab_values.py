"""Values that a sentence calls high or low."""

from __future__ import annotations

import pytest

from maporl_cli.rewards.lab_values import misreads, normal_ranges
from maporl_cli.rewards.sentences import sentences

VIGNETTE = (
    "Serum calcium is 11.4 mg/dL, phosphate is 2.3 mg/dL, parathyroid hormone is 92 pg/mL, glucose is "
    "5.1 mmol/L and sodium is 121 mmol/L."
)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("A phosphate of 2.3 is high.", True),
        ("A phosphate of 2.3 is low.", False),
        ("A phosphate of 2.3 is not high.", False),
        ("A parathyroid hormone of 92 is suppressed.", True),
        ("The raised parathyroid hormone of 92 fits.", False),
        ("A low calcium of 11.4 speaks against it.", True),
        ("A calcium of 11.4 is too low for malignancy.", True),
        ("A sodium of 121 is elevated.", True),
        ("A phosphate of 1.9 is high.", False),  # no value of this patient
        ("A glucose of 5.1 is low.", False),  # within its range in mmol/L, whatever 5.1 mg/dL would be
        ("The calcium is low.", False),  # gives no value
        ("Nothing is high.", False),
    ],
)
def test_misread_values(said, wrong):
    (sentence,) = sentences(said)
    assert misreads(sentence, VIGNETTE) is wrong


@pytest.mark.parametrize("kind", ["urine", "ionized", "CSF"])
def test_a_measure_of_another_kind_has_another_range(kind):
    (sentence,) = sentences(f"A {kind} sodium of 60 is high.")
    assert not misreads(sentence, "His sodium is 60 mmol/L.")
    (plain,) = sentences("A sodium of 60 is high.")
    assert misreads(plain, "His sodium is 60 mmol/L.")


def test_the_unit_decides():
    (sentence,) = sentences("A calcium of 2.9 is low.")
    assert misreads(sentence, "Her calcium is 2.9 mmol/L.")  # above 2.55 mmol/L
    assert not misreads(sentence, "Her calcium is 2.9 mg/dL.")


def test_every_range_has_room():
    assert all(found.low < found.high for found in normal_ranges())
