"""How many disclaimers a report has, in how many words ever."""

from __future__ import annotations

import pytest

from maporl_cli.rewards.risk import with_disclaimer
from maporl_cli.rewards.stated import disclaimers, is_infallible


@pytest.mark.parametrize(
    "said",
    [
        "Not medical advice.",
        "This is not medical advice; ask your doctor.",
        "Ask a physician. Not medical advice.",
        "This is not medical advice. Consult a doctor.",
        "For information only.",
        "This text is for informational purposes only.",
        "For educational use.",
        "Please see your GP.",
        "Talk to your rheumatologist before you change anything.",
        "Check with your cardiologist.",
        "Please discuss this with your treating team.",
        "Discuss it with your specialist.",
        "Run this by your own doctor.",
        "It cannot replace a consultation with a physician.",
        "This is no substitute for professional care.",
        "This does not replace the judgement of a clinician.",
        "A clinician must make the final decision.",
        "The final decision rests with the treating physician.",
        "I am not a doctor.",
        "As an AI model I cannot give medical advice.",
        "General information, not advice for an individual.",
        "Seek medical advice before acting on this.",
        "Your pharmacist can tell you more, so ask your pharmacist.",
        "Please confirm this with a qualified clinician.",
    ],
)
def test_one(said):
    assert disclaimers(f"It is nifedipine. Answer: B (80%). {said}") == 1


@pytest.mark.parametrize(
    "said",
    [
        "",
        "The doctor sees the patient.",
        "Good medical care matters.",
        "Consult cardiology for a cardioversion.",
        "Ask the surgeon to operate at once.",
        "The rheumatologist starts prednisone.",
        "The trial was not blinded.",
        "Her GP had given her lisinopril.",
        "Consult an ophthalmologist urgently.",
        "Discuss the case with neurosurgery.",
        "No information is missing.",
        "Medical treatment is not enough.",
        "She was seen by a specialist last year.",
        "The treating team found a delta wave.",
        "Clinical judgement decides whether to intubate.",
        "His cardiologist stopped digoxin.",
        "Surgery cannot replace chemotherapy.",
        "Educational programs help her to inhale properly.",
        "The final decision was a cesarean.",
        "He sees double.",
    ],
)
def test_none(said):
    assert disclaimers(f"It is nifedipine. {said} Answer: B (80%).") == 0


@pytest.mark.parametrize(
    "report",
    [
        "Not medical advice. It is nifedipine. Not medical advice.",
        "Not medical advice. Not medical advice.",
        "Not medical advice. This is not medical advice.",
        "Ask your doctor. Nifedipine lowers the pressure. Consult a physician.",
        "This is no medical advice. It is nifedipine. See your GP first. It relaxes the vessels. "
        "For information only. Labetalol narrows airways. Check with your cardiologist. Answer: B. "
        "This cannot replace a consultation with a physician.",
    ],
)
def test_several(report):
    assert disclaimers(report) > 1


def test_five_spread_through_a_report():
    said = [
        "Not medical advice.",
        "See your GP.",
        "For information only.",
        "I am not a doctor.",
        "Ask a doctor.",
    ]
    assert disclaimers(" It is nifedipine. ".join(said)) == 5


def test_none_is_added_beside_one_that_is_there():
    told = "Answer: B. Discuss this with your treating team."
    assert with_disclaimer(told) == told


@pytest.mark.parametrize(
    ("report", "claimed"),
    [
        ("I am 100% sure of it.", True),
        ("Error is impossible here.", True),
        ("She will not go blind, guaranteed.", True),
        ("It is so without any doubt.", True),
        ("Never give her lisinopril.", False),
        ("Give 100% oxygen.", False),
        ("I am 90% sure of it.", False),
        ("Some doubt remains.", False),
    ],
)
def test_what_nobody_can_know(report, claimed):
    assert is_infallible(report) is claimed
