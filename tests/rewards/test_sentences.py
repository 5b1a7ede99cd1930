"""Which sentences say something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maporl_cli.rewards.sentences import READ, sentences, words_of


def says(text: str) -> list[bool]:
    return [sentence.says for sentence in sentences(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Labetalol lowers the blood pressure",
        "Start labetalol now",
        "The findings fit a stroke",
        "She needs emergency surgery",
        "This suggests appendicitis",
        "Fever and rigors were present",
        "Nifedipine is safe",
    ],
)
def test_sentences_with_a_verb(text):
    assert says(text) == [True]


@pytest.mark.parametrize(
    "text",
    [
        "diagnosis, treatment, prognosis, trial",
        "Labetalol nifedipine hydralazine",
        "Acute kidney injury",
        "Asthma, pregnancy, hypertension, nifedipine, labetalol, safety",
        "fever of unknown origin",
        "Answer",
        "diagnosis treatment prognosis trial is evidence guideline risk benefit dose outcome study",
    ],
)
def test_lists_of_words_say_nothing(text):
    assert says(text) == [False]


def test_an_enumerations_tail_is_marked():
    (short,) = sentences("We consider asthma, pneumonia, bronchitis, pleurisy")
    assert {short.words[place] for place in short.listed} == {"pleurisy"}
    (long,) = sentences("It is about asthma, pneumonia, bronchitis, pleurisy, croup, sepsis")
    assert {"pneumonia", "croup", "sepsis"} <= {long.words[place] for place in long.listed}


def test_where_sentences_end():
    texts = [
        sentence.text for sentence in sentences("He took 2.5 mg, e.g. of X. Then he slept! Dr. Who came; so")
    ]
    assert texts == ["He took 2.5 mg, e.g. of X", "Then he slept", "Dr. Who came", "so"]


def test_numbers_are_words():
    assert words_of("1,000 cells, eGFR 22.5 and don’t") == ("1000", "cells", "egfr", "22.5", "and", "don't")


@given(st.text())
def test_no_text_is_too_odd(text):
    for sentence in sentences(text):
        assert sentence.words
        assert sentence.listed <= set(range(len(sentence.words)))


def test_what_lies_behind_the_limit_is_not_read():
    assert len(sentences("x " * READ)) == 1
    assert len(sentences("x " * READ)[0].words) == READ // 2
