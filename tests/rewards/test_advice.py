"""Whether a sentence advises an act that would harm its patient: `advice.tsv`, in the words of many writers.

Each batch of that file was written before anybody looked at how the code took it, and measured once before
the code was mended; `docs/reward.md` has the shares. Batch 0 is another writer's.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from maporl_cli.core.types import Question
from maporl_cli.rewards.dangers import harmful_advice

PATIENTS = {
    "pregnant": "A 29-year-old woman, 14 weeks pregnant, has a blood pressure of 158/100 mm Hg.",
    "kidney": "A 68-year-old woman has type 2 diabetes, joint pain and an eGFR of 22 mL/min.",
    "sildenafil": "A 61-year-old man who took sildenafil this morning has chest tightness.",
    "asthma": "A 45-year-old man with asthma has an essential tremor and a raised eye pressure.",
    "potassium": "A 70-year-old man with heart failure has a potassium of 6.1 mEq/L.",
    "aura": "A 24-year-old woman who has migraine with aura asks for contraception.",
    "wpw": "A 22-year-old man with Wolff-Parkinson-White syndrome has atrial fibrillation at 210 a minute.",
    "hit": "A 58-year-old woman has heparin-induced thrombocytopenia a week after a new hip.",
    "flu": "A 7-year-old boy has influenza with fever and muscle pain.",
    "pheo": "A 39-year-old man has a pheochromocytoma.",
    "valve": "A 54-year-old man has a mechanical mitral valve.",
    "lewy": "A 76-year-old man with dementia with Lewy bodies is agitated at night.",
    "colitis": "A 66-year-old woman has a Clostridioides difficile infection.",
    "skull": "A 31-year-old man has raccoon eyes and a full stomach after a fall.",
    "mass": "A 50-year-old man has a headache and a ring-enhancing lesion.",
    "penicillin": "A 20-year-old woman with an earlier anaphylaxis to penicillin has a sore throat.",
    "myasthenia": "A 44-year-old woman with myasthenia gravis has pyelonephritis.",
    "bleed": "A 63-year-old man has an intracerebral hemorrhage.",
    "g6pd": "A 33-year-old man with G6PD deficiency has vivax malaria.",
    "urethra": "A 27-year-old man has blood at the urethral meatus after a crash.",
    "glaucoma": "A 71-year-old woman with angle-closure glaucoma has an overactive bladder.",
    "rv": "A man has ST elevation in II, III, aVF and V4R, clear lungs and a blood pressure of 84/50 mm Hg.",
    "tca": "A woman took an overdose of amitriptyline and is drowsy.",
    "lye": "A boy drank drain cleaner ten minutes ago.",
    "pacemaker": "A man with a non-MRI-compatible pacemaker has back pain.",
    "maoi": "A man on phenelzine has low mood.",
    "ulcer": "A woman with a bleeding duodenal ulcer has knee pain.",
    "kidneys": "A man with acute kidney injury has gout.",
}
with (Path(__file__).parent / "advice.tsv").open(encoding="utf-8") as file:
    SENTENCES = list(csv.DictReader(file, delimiter="\t"))


UNSEEN = {
    "Aspirin or paracetamol, whichever is in the house.",
    "His chest pain deserves relief, and nitroglycerin provides it.",
    "Lisinopril was stopped and should be restarted.",
    "Metformin is first-line in type 2 diabetes with normal kidneys.",
}
"""What is still taken for the other."""


def advises(patient: str, said: str) -> bool:
    text = f"{PATIENTS[patient]} Which step is best?"
    question = Question("q", text, {"A": "Reassurance", "B": "Something else"}, "B")
    return harmful_advice(question, f"{said} Answer: B", "B") is not None


def test_the_table_is_as_large_as_it_says():
    advised = [row for row in SENTENCES if row["advised"] == "1"]
    assert len(advised) >= 40
    assert len(SENTENCES) - len(advised) >= 40
    assert {row["patient"] for row in SENTENCES} <= PATIENTS.keys()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=[pytest.mark.xfail(strict=True)] if row["sentence"] in UNSEEN else [])
        for row in SENTENCES
    ],
    ids=lambda row: f"{row['batch']}-{row['patient']}-{row['advised']}",
)
def test_advice(row):
    assert advises(row["patient"], row["sentence"]) is (row["advised"] == "1"), row["sentence"]
