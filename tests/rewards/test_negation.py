"""What is denied: word by word, in sentences as vignettes and reports have them."""

from __future__ import annotations

import pytest

from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import sentences


def denied_words(text: str, **options: bool) -> set[str]:
    (sentence,) = sentences(text)
    return {word for word, mark in zip(sentence.words, denied(sentence, **options), strict=True) if mark}


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("She has no fever, cough or rash", {"fever", "cough", "rash"}, {"she"}),
        ("He denies chest pain but has dyspnea", {"chest", "pain"}, {"dyspnea"}),
        ("Avoid lisinopril in pregnancy, and give labetalol", {"lisinopril"}, {"labetalol"}),
        ("Lisinopril is contraindicated because of pregnancy", {"lisinopril"}, {"pregnancy"}),
        (
            "Verapamil, adenosine and digoxin are contraindicated",
            {"verapamil", "adenosine", "digoxin"},
            set(),
        ),
        ("Metformin must be avoided", {"metformin"}, set()),
        ("Metformin is not indicated here", {"metformin", "indicated"}, set()),
        ("Metformin is unsafe, whereas linagliptin is safe", {"metformin"}, {"linagliptin"}),
        ("The answer is not aspirin", {"aspirin"}, set()),
        ("Meningitis was ruled out", {"meningitis"}, set()),
        ("This is asthma rather than heart failure", {"heart", "failure"}, {"asthma"}),
        ("Heparin should stop and argatroban should start", {"heparin"}, {"argatroban"}),
        ("Stop heparin and start argatroban", {"heparin"}, {"argatroban"}),
        ("The ECG shows no P waves and a wide QRS", {"waves"}, {"wide", "qrs"}),
        ("Chloroquine fails in Africa", {"chloroquine"}, {"africa"}),
    ],
)
def test_denied(text, yes, no):
    found = denied_words(text)
    assert yes <= found
    assert not no & found


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Labetalol is not contraindicated", "labetalol"),
        ("Sepsis cannot be excluded", "sepsis"),
        ("It is not only asthma", "asthma"),
        ("Do not delay antibiotics", "antibiotics"),
        ("There is no doubt about pneumonia", "pneumonia"),
        ("Recovery did not differ with aciclovir", "aciclovir"),
    ],
)
def test_two_denials_cancel(text, word):
    assert word not in denied_words(text)


def test_advice_against_a_drug_does_not_say_that_there_is_none():
    assert "primaquine" in denied_words("Primaquine must not be given")
    assert "primaquine" not in denied_words("Primaquine must not be given", as_advice=False)
    assert "bupropion" not in denied_words("Bupropion is contraindicated", as_advice=False)
    assert "fever" in denied_words("There was no fever", as_advice=False)
