"""What an answer carries."""

from __future__ import annotations

from asthma_case import played

from maporl_cli.serving.answers import answered


def test_an_answer_carries_report_confidence_risk_disclaimer_and_evidence():
    episode = played(
        "Look at pregnancy and asthma.",
        "Labetalol should be avoided in asthma [e1]; lisinopril harms the fetus [e3, e9].",
        "Nifedipine fits [e1].",
        "Answer: B (85%).",
    )
    found = answered(episode)
    assert found.pop("risk")["level"] in ("low", "moderate")
    assert found == {
        "answer": "B",
        "report": "Answer: B (85%). Not medical advice.",
        "confidence": 0.85,
        "disclaimer": "Not medical advice.",
        "evidence": ["e1", "e3"],  # e9 was never shown, e2 nobody cites
    }


def test_what_is_not_there_is_null_and_what_is_risky_is_said():
    found = answered(played("Give lisinopril.", "Surely something. Not medical advice."))
    assert (found["answer"], found["confidence"], found["evidence"]) == (None, None, [])
    assert found["report"] == "Surely something. Not medical advice."  # it has its disclaimer
    harmful = answered(played("Answer: A (99%)."))
    assert harmful["risk"]["level"] == "high"
    assert "contraindicated" in harmful["risk"]["reasons"][0]
