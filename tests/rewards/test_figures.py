"""Figures and the words that they belong to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.rewards.figures import are_given, misplaced, numbers_of, outweighed, overstated, parts_of


def test_numbers_in_digits_and_words_with_their_decimals():
    assert numbers_of("Three of 75, 4.50 and 1,000; one more") == {3.0: 0, 75.0: 0, 4.5: 2, 1000.0: 0}
    assert numbers_of("three drugs within thirty days raised it sixfold") == {30.0: 0, 6.0: 0}
    assert numbers_of("On question 2, 1.2.3 is none") == {}


def test_a_part_ends_where_one_thing_is_set_against_another():
    parts = parts_of("86% with A, 12.5% with B and nothing else than 1,000")
    assert [sorted(part.numbers) for part in parts] == [[86.0], [12.5], [1000.0]]


@pytest.mark.parametrize(
    ("said", "written", "given"),
    [
        ("86%", "86.4%", True),
        ("86%", "86.6%", False),
        ("86.4%", "86%", False),
        ("0.5", "0.46", True),
        ("three", "3 of 75", True),
        ("no number", "", True),
        ("more than 90%", "93%", True),
        ("more than 90%", "89%", False),
        ("over 40%", "93%", False),
    ],
)
def test_a_number_may_be_rounded_as_it_was_said(said, written, given):
    assert are_given(said, written) == given


def test_what_the_question_has_need_not_be_written():
    assert are_given("a pressure of 58 fell by 12", "it fell by 12", known={"58"})
    assert not are_given("a pressure of 58 fell by 12", "it fell by 12", known={"12"})


SOURCE = "Cure followed in 70% with vancomycin, 45% with metronidazole and 20% with placebo."


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("Cure followed in 70% with vancomycin", False),
        ("Cure followed in 70% with vancomycin against 20% with placebo", False),
        ("Vancomycin beat metronidazole by 70% to 45%", False),
        ("Cure followed in 45% with vancomycin and in 70% with metronidazole", True),
        ("Cure followed in 70% with metronidazole", True),
        ("70% were cured", False),
    ],
)
def test_a_figure_belongs_to_what_it_is_written_with(said, wrong):
    assert misplaced(said, SOURCE) == wrong


@given(st.text(), st.text())
def test_any_text_can_be_read(said, written):
    assert not misplaced(said, said)
    assert misplaced(said, written) in (True, False)


@pytest.mark.parametrize(
    ("said", "against"),
    [
        ("Deaths were fewer with aspirin than with placebo", True),
        ("Deaths were more with aspirin than with placebo", False),
        ("Deaths were no fewer with aspirin than with placebo", False),
        ("Deaths were fewer with aspirin than with steroids", False),  # of these nothing is written
        ("Deaths were fewer with aspirin", False),
        ("Deaths were 12% with aspirin and fewer than with placebo", False),  # its figures are judged instead
    ],
)
def test_a_comparison_whose_figures_are_against_it(said, against):
    assert outweighed(said, "Death occurred in 17.0% with aspirin and in 15.4% with placebo") is against


SURVIVAL = "Survival was 97.2% at 0-6 hours, 79.3% at 7-12 hours and 61.3% at 13-18 hours."


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("Survival is 61.3% in the first six hours", True),
        ("61.3% at 6 hours, and 97.2% at 13 hours", True),
        ("Survival is 97.2% in the first six hours", False),
        ("From 97.2% to 61.3% within 13 hours", False),  # two shares in one part
        ("Survival is 61.3% in 300 patients", False),  # of whom nothing is written
    ],
)
def test_a_share_that_is_written_of_another_number(said, wrong):
    assert misplaced(said, SURVIVAL) is wrong


@pytest.mark.parametrize(
    ("said", "written", "wrong"),
    [
        ("Most of those on it fell ill", "It occurred in 0.5% of 1134", True),
        ("Patients mostly fall ill", "It occurred in 12% and in 19%", True),
        ("Most of those on it fell ill", "It occurred in 61% of 1134", False),
        ("Most of those on it fell ill", "It occurred in many of 1134", False),
        ("Most patients were well", "It occurred in 0.5%, and most patients were well", False),
        ("The most appropriate act", "It occurred in 0.5%", False),
    ],
)
def test_most_is_said_of_a_small_share(said, written, wrong):
    assert overstated(said, written) is wrong
