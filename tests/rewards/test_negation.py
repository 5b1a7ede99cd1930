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
        ("I would keep albumin out of the chart and give cefotaxime", {"albumin"}, {"cefotaxime"}),
        ("Leave the old statin out", {"statin"}, {"leave"}),
        ("Keep him on albumin", set(), {"albumin"}),
        ("The study should be struck off the list of tests", {"study"}, {"tests"}),
        ("Albumin is a drug that she does not need", {"albumin"}, set()),
        ("Contrast is not the right step", {"contrast"}, set()),
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
        ("Defer antibiotics and give saline", {"antibiotics"}, {"saline"}),
        ("I would postpone surgery", {"surgery"}, set()),
        ("Stop heparin and start argatroban", {"heparin"}, {"argatroban"}),
        ("Avoid smoking, and to the patient explain asthma", {"smoking"}, {"asthma"}),
        # A "no" among findings reaches as far as they do.
        ("Fever, a stiff neck and no rash are meningitis", {"rash"}, {"fever", "meningitis"}),
        ("Attacks without hives, a father who died and no itch mean angioedema", {"itch"}, {"angiedema"}),
        ("The ECG shows no P waves and a wide QRS", {"waves"}, {"wide", "qrs"}),
        ("Nifedipine is preferred and labetalol is contraindicated", {"labetalol"}, {"nifedipine"}),
        ("Pimavanserin masks the symptom and is to be withheld", {"pimavanserin"}, set()),
        ("Rasburicase would act faster, yet it is contraindicated", {"rasburicase"}, set()),
        ("Stop lithium, ibuprofen and lisinopril", {"lithium", "ibuprofen", "lisinopril"}, set()),
        ("Avoid lithium, since lamotrigine and valproate help", {"lithium"}, {"lamotrigine", "valproate"}),
        ("Stop heparin, start argatroban and check platelets", {"heparin"}, {"argatroban", "platelets"}),
        ("Chloroquine fails in Africa", {"chloroquine"}, {"africa"}),
        # What "not" denies follows it; its subject only where that would have spoken for it.
        ("Ethosuximide does not impair attention", {"attention"}, {"ethosuximide"}),
        ("Saline does not lower preload", {"preload"}, {"saline"}),
        ("A saline bolus would not harm clear lungs", {"lungs"}, {"saline", "bolus"}),
        ("Primary hyperparathyroidism does not suppress PTH", {"pth"}, {"hyperparathyroidism"}),
        ("Fidaxomicin is not absorbed", {"absorbed"}, {"fidaxomicin"}),
        ("Fidaxomicin is unlikely to be followed by recurrence", {"recurrence"}, {"fidaxomicin"}),
        ("Relapse is less likely with fidaxomicin", {"relapse"}, {"fidaxomicin"}),
        ("Morphine does not help here", {"morphine"}, set()),
        ("Migraine cannot explain the ESR", {"migraine"}, set()),
        ("Furosemide should not be given", {"furosemide"}, set()),
        ("Furosemide is not the answer", {"furosemide"}, set()),
        ("Metoprolol won't help", {"metoprolol"}, set()),
        ("Furosemide is, in this man, not indicated", {"furosemide"}, set()),
        # "X, not Y": the comma ends what is denied.
        ("Saline, not furosemide, is the answer", {"furosemide"}, {"saline", "answer"}),
        ("I would start saline and not furosemide", {"furosemide"}, {"saline"}),
        # Words that speak against what stands before them, or behind.
        ("Saline is a poor choice", {"saline"}, set()),
        ("Saline is a bad idea", {"saline"}, set()),
        ("It is anything but hyperparathyroidism", {"hyperparathyroidism"}, set()),
        ("Saline is far from ideal", {"saline"}, set()),
        ("Saline is second to furosemide", {"saline"}, {"furosemide"}),
        ("Saline is inferior to furosemide", {"saline"}, {"furosemide"}),
        ("Furosemide beats saline", {"saline"}, {"furosemide"}),
        ("We prefer furosemide over saline", {"saline"}, {"furosemide"}),
        ("Saline infused over ten minutes helps", set(), {"ten", "saline"}),
        ("Saline has no role", {"saline"}, set()),
        ("There is no place for saline", {"saline"}, set()),
        ("Saline is useless", {"saline"}, set()),
        ("Saline is of no use", {"saline"}, set()),
        ("Metoprolol and morphine are out", {"metoprolol", "morphine"}, set()),
        ("It would be a mistake to give saline", {"saline"}, set()),
        ("Rather sarcoidosis than gout", {"gout"}, {"sarcoidosis"}),
        ("Hardly a case for saline", {"saline"}, set()),
        ("I doubt that saline helps", {"saline"}, set()),
        ("Hyperparathyroidism is a red herring", {"hyperparathyroidism"}, set()),
        ("Loperamide can wait", {"loperamide"}, set()),
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
        ("MRI cannot wait", "mri"),
        ("An MRI must not be delayed", "mri"),
        ("An MRI should not be postponed", "mri"),
        ("There is no alternative to MRI", "mri"),
        ("MRI is not optional", "mri"),
        ("An MRI should not be skipped", "mri"),
        ("There is no reason to withhold saline", "saline"),
        ("I would not withhold saline", "saline"),
        ("Nothing but surgery helps", "surgery"),
        ("It cannot be anything other than gout", "gout"),
        ("One cannot explain this without gout", "gout"),
        ("Saline is not without risk", "saline"),
        ("Why not give saline", "saline"),
        ("Without an MRI the bladder is lost", "mri"),
        ("Saline is the least harmful step", "saline"),
        ("It is never too late for saline", "saline"),
    ],
)
def test_two_denials_cancel(text, word):
    assert word not in denied_words(text)


def test_advice_against_a_drug_does_not_say_that_there_is_none():
    assert "primaquine" in denied_words("Primaquine must not be given")
    assert "primaquine" not in denied_words("Primaquine must not be given", as_advice=False)
    assert "bupropion" not in denied_words("Bupropion is contraindicated", as_advice=False)
    assert "fever" in denied_words("There was no fever", as_advice=False)


def test_of_a_finding_all_that_it_relates_is_denied():
    """Else a citation could turn it round: "melatonin did not change delirium" is no effect of melatonin."""
    assert "melatonin" in denied_words("Melatonin did not change delirium", as_advice=False)
    assert "melatonin" not in denied_words("Melatonin did not change delirium")
