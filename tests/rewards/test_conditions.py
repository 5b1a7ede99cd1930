"""Of whom a vignette says something, and which of several values is the current one."""

from __future__ import annotations

import pytest

from maporl_cli.rewards.conditions import met, parsed


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("asthma", "His father has asthma."),
        ("asthma", "Her older brother was diagnosed with asthma as a child."),
        ("asthma", "There is asthma in her mother and two aunts."),
        ("smoker", "She is a non-smoker."),
        ("pregnancy", "Her pre-pregnancy weight was 60 kg."),
        ("coronary artery disease", "His father, 62 years old, has coronary artery disease."),
        ("pulmonary embolism", "Her sister died of a pulmonary embolism."),
        ("influenza", "A 34-year-old man lives with a brother who has influenza."),
        ("pregnant", "His wife is pregnant."),
        ("epilepsy", "A maternal aunt suffers from epilepsy."),
        ("penicillin allergy", "The patient's mother reports that her sister has a penicillin allergy."),
        ("age > 34 & smokes", "A 24-year-old woman smokes. Her mother, 82 years old, is well."),
        ("age < 18", "A 40-year-old man lives with a 3-year-old brother."),
        ("age < 18", "A 34-year-old woman has a 6-year-old daughter."),
        ("age < 18", "A 40-year-old man has had asthma since 5 years of age."),
        ("age < 2", "A 30-year-old woman gave birth to a healthy 3-week-old boy; her son is well."),
    ],
)
def test_what_is_not_the_patients(condition, text):
    assert not met(parsed(condition), text)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("asthma", "His mother says that he has asthma."),
        ("asthma", "Her husband brought her in; she has asthma."),
        ("asthma", "His father has eczema, and he has asthma."),
        ("asthma", "A 30-year-old mother of two has asthma."),
        ("asthma", "The mother of a boy with asthma asks for help."),
        ("influenza", "A woman brings her 3-year-old son with influenza."),
        ("influenza", "A boy is brought by his mother because of influenza."),
        ("age < 18", "A mother brings her 3-year-old son because of a cough."),
        ("age < 18", "A mother, 32 years old, brings her 3-year-old son."),
        ("age < 18", "A 3-year-old boy is brought by his 32-year-old mother."),
        ("age > 34", "A 45-year-old father of three has a headache."),
        ("asthma", "She lives with her sister. She has asthma."),
    ],
)
def test_what_relatives_tell_of_the_patient_is(condition, text):
    assert met(parsed(condition), text)


@pytest.mark.parametrize(
    "text",
    [
        "She had a negative pregnancy test.",
        "A urine pregnancy test is negative.",
        "She takes a pill to prevent pregnancy.",
        "She wants a contraceptive for the prevention of pregnancy.",
        "Pregnancy was excluded.",
        "She is not pregnant.",
        "She is worried about pregnancy.",
        "In a previous pregnancy she had cholestasis.",
        "Her last pregnancy ended in a normal birth.",
        "A pregnancy test was ordered.",
    ],
)
def test_not_pregnant(text):
    assert not met(parsed("pregnant; pregnancy"), text)


@pytest.mark.parametrize(
    "text",
    [
        "She is pregnant.",
        "A pregnancy test is positive.",
        "A positive pregnancy test surprised her.",
        "She is at 20 weeks of pregnancy.",
        "She is worried and about 20 weeks pregnant.",
        "Her second pregnancy has been uneventful so far.",
        "Her previous pregnancy was normal, and she is pregnant again.",
    ],
)
def test_pregnant(text):
    assert met(parsed("pregnant; pregnancy"), text)


@pytest.mark.parametrize(
    ("condition", "text", "holds"),
    [
        ("egfr < 30", "Her eGFR fell from 55 to 22.", True),
        ("egfr < 30", "Her eGFR fell from 55 mL/min/1.73 m2 to 22 mL/min/1.73 m2.", True),
        ("egfr < 30", "Her eGFR rose from 22 to 55 mL/min.", False),
        ("potassium > 5.5", "The potassium was 6.1 and is now 4.2.", False),
        ("potassium > 5.5", "The potassium was 6.1 mEq/L on admission and is 4.2 mEq/L today.", False),
        ("potassium > 5.5", "The potassium was 4.2 and is now 6.1.", True),
        ("potassium > 5.5", "The potassium is now 6.1, was 4.2 last week.", True),
        ("potassium > 5.5", "The potassium was 6.1. After dialysis the potassium is 4.2.", False),
        ("potassium > 5.5", "The potassium is 6.1. A year ago the potassium was 4.2.", True),
        ("potassium > 5.5", "The potassium is 4.1 and the sodium is now 130.", False),
        ("potassium > 5.5", "She takes potassium chloride 40 mEq daily.", False),
        ("systolic blood pressure < 90", "The blood pressure fell from 140/90 to 82/48 mm Hg.", True),
        ("systolic blood pressure < 90", "The blood pressure rose from 82/48 to 140/90 mm Hg.", False),
        ("platelet count < 100000", "The platelet count fell from 250,000 to 60,000 within a week.", True),
        ("heart rate < 45", "The heart rate is 40 and the respiratory rate is 60.", True),
    ],
)
def test_the_current_value_counts(condition, text, holds):
    assert met(parsed(condition), text) is holds
