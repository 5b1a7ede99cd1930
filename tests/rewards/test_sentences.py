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

    (led_in,) = sentences("The question involves oxygen, infarction, mortality, trial design and outcome")
    assert {"infarction", "mortality", "design"} <= {led_in.words[place] for place in led_in.listed}


def test_where_sentences_end():
    texts = [
        sentence.text for sentence in sentences("He took 2.5 mg, e.g. of X. Then he slept! Dr. Who came; so")
    ]
    assert texts == ["He took 2.5 mg, e.g. of X", "Then he slept", "Dr. Who came", "so"]


def test_numbers_are_words():
    assert words_of("1,000 cells, eGFR 22.5 and don’t") == ("1000", "cells", "egfr", "22.5", "and", "don't")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5,8 and 0,125 and 1,000 and 30,000", ("5.8", "and", "0.125", "and", "1000", "and", "30000")),
        ("haemorrhage anaemia oedema", ("hemorrhage", "anemia", "edema")),
        ("diarrhoea dyspnoea ischaemia", ("diarrhea", "dyspnea", "ischemia")),
        ("oesophagus oestrogen leucocytosis", ("esophagus", "estrogen", "leukocytosis")),
        ("tumours, labour and litres", ("tumors", "labor", "and", "liters")),
        ("hospitalised after revascularisation", ("hospitalized", "after", "revascularization")),
        ("phaeochromocytoma caesarean coeliac", ("pheochromocytoma", "cesarean", "celiac")),
        ("paralysed foetus manoeuvre", ("paralyzed", "fetus", "maneuver")),
        # What only looks British stays.
        ("does the toe raise", ("does", "the", "toe", "raise")),
        ("four doctors advised exercise", ("four", "doctors", "advised", "exercise")),
        ("phoenix aerobic promised surprise", ("phoenix", "aerobic", "promised", "surprise")),
    ],
)
def test_one_spelling(text, words):
    assert words_of(text) == words


def test_long_texts_are_not_kept():
    """What is cached is the part that is read: texts that differ behind it are one."""
    assert sentences("Nifedipine is safe. " * READ) is sentences("Nifedipine is safe. " * READ + "x" * 10**6)


@given(st.text())
def test_no_text_is_too_odd(text):
    for sentence in sentences(text):
        assert sentence.words
        assert sentence.listed <= set(range(len(sentence.words)))


def test_what_lies_behind_the_limit_is_not_read():
    assert len(sentences("x " * READ)) == 1
    assert len(sentences("x " * READ)[0].words) == READ // 2
