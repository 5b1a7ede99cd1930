"""Which way a text points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.rewards.directions import exchanged, opposed, rises_for_falls, swapped, turned

DIRECTIONS = [
    ("it raised mortality", "it lowered mortality", True),
    ("it did not raise mortality", "it raised mortality", True),
    ("it did not raise mortality", "it lowered mortality", False),
    ("it should not be given", "it is contraindicated", False),
    ("it should be given", "it is contraindicated", True),
    ("it is recommended", "it is not recommended", True),
    ("it raised one and lowered another", "it lowered both", False),
    ("a positive test excludes it", "a negative test excludes it", True),
    ("nothing points anywhere", "it lowered mortality", False),
    ("it lowered mortality", "there was no association of the drug with lower mortality", True),
    ("it did not lower mortality", "there was no association of the drug with lower mortality", False),
    ("sleep got worse", "sleep improved", True),
]
ORDERS = [
    ("A1c fell more with insulin than with metformin", "more with metformin than with insulin", True),
    ("more with insulin than with metformin", "more with insulin than with metformin", False),
    ("coiling is superior to clipping", "clipping is superior to coiling", True),
    ("coiling is superior to clipping", "clipping is inferior to coiling", True),
    ("thiamine before glucose", "glucose before thiamine", True),
    ("thiamine before glucose", "glucose after thiamine", False),
    ("Compared with placebo, steroids helped", "steroids helped compared with placebo", False),
    ("Compared with steroids, placebo helped", "steroids helped compared with placebo", True),
    ("steroids helped", "steroids helped compared with placebo", False),
]


@pytest.mark.parametrize(("said", "written", "turned"), DIRECTIONS)
def test_opposite_directions(said, written, turned):
    assert opposed(said, written) == turned
    assert opposed(written, said) == turned


@pytest.mark.parametrize(("said", "written", "turned"), ORDERS)
def test_places_exchanged(said, written, turned):
    assert exchanged(said, written) == turned
    assert exchanged(written, said) == turned


def test_two_turns_make_none():
    assert not turned("coiling is superior to clipping", "clipping is inferior to coiling")
    assert turned("coiling is superior to clipping", "clipping is superior to coiling")
    assert turned("mortality was lower with A1", "mortality was higher with A1")


@given(st.text())
def test_no_text_is_opposed_to_itself(text):
    assert not opposed(text, text)
    assert not exchanged(text, text)


CLIMBERS = (
    "In six climbers at high altitude, nifedipine lowered pulmonary pressure and raised oxygen saturation "
    "over 34 hours."
)


@pytest.mark.parametrize(
    ("said", "written", "wrong"),
    [
        ("It raised pulmonary pressure and lowered saturation", CLIMBERS, True),
        ("Pulmonary pressure rose while saturation fell", CLIMBERS, True),
        ("A lower pulmonary pressure, and a higher saturation", CLIMBERS, False),
        ("Pulmonary pressure fell and saturation rose", CLIMBERS, False),
        ("It did not lower pulmonary pressure and did not raise saturation", CLIMBERS, True),
        (
            "Neither fewer deaths nor lower costs",
            "No association with fewer deaths or with lower costs",
            False,
        ),
        # set against each other, nothing has moved
        ("Deaths were higher in Rome than in Bonn", "Deaths were lower in Bonn than in Rome", False),
        ("It raised hopes", "It lowered costs", False),
    ],
)
def test_what_rises_and_what_falls_have_changed_places(said, written, wrong):
    assert swapped(said, written) is wrong
    assert not swapped(written, written)


def test_never_is_not_often():
    assert turned("Symptoms never return", "Symptoms often return")
    assert not turned("Symptoms usually return", "Symptoms often return")


def test_a_rise_for_a_fall():
    assert rises_for_falls("It is high in sarcoidosis", "Sarcoidosis suppresses it")
    assert not rises_for_falls("It is avoided", "It is recommended")
    assert not rises_for_falls("It is high or low", "It is low")
