"""The risk that a reader is told of, and the disclaimer that every report carries once."""

from __future__ import annotations

import pytest

from maporl_cli.core.types import Question
from maporl_cli.rewards.risk import assess, with_disclaimer

PREGNANT = Question(
    "q",
    "A pregnant woman has high blood pressure. Which drug should she take?",
    {"A": "Lisinopril", "B": "Nifedipine"},
    "",
)
HEADACHE = Question("q", "A man has a thunderclap headache. What should he do?", {}, "")


def test_a_contraindicated_drug_is_a_high_risk_said_first():
    risk = assess(PREGNANT, "Start lisinopril. Answer: A (60%).", "A")
    assert risk.level == "high"
    assert "ace inhibitor" in risk.reasons[0]


def test_a_letter_alone_may_be_the_risk():
    assert assess(PREGNANT, "Answer: A", "A").level == "high"
    assert assess(PREGNANT, "Answer: B", "B").level == "low"


def test_an_emergency_that_is_passed_over():
    assert assess(HEADACHE, "Rest at home. Answer: rest", "rest").level == "high"
    named = assess(HEADACHE, "This is an emergency and needs a CT head at once. Answer: call", "call")
    assert named.level == "moderate"
    assert any("may be an emergency" in reason for reason in named.reasons)


@pytest.mark.parametrize("report", ["It is certainly B. Answer: B", "Answer: B (100%)"])
def test_false_certainty(report):
    risk = assess(PREGNANT, report, "B")
    assert risk.level == "moderate"
    assert "it is surer than a model can be" in risk.reasons


def test_a_source_is_encouraged_where_none_is_named():
    told = "it names no guideline and no evidence: look one up"
    assert told in assess(PREGNANT, "Answer: B", "B").reasons
    assert told not in assess(PREGNANT, "The guideline prefers it [e1]. Answer: B", "B").reasons


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        ("Answer: B", "Answer: B Not medical advice."),
        ("Answer: B. Not medical advice.", "Answer: B. Not medical advice."),
        ("Answer: B. Please consult a doctor.", "Answer: B. Please consult a doctor."),
        ("", "Not medical advice."),
    ],
)
def test_one_disclaimer(report, shown):
    assert with_disclaimer(report) == shown
