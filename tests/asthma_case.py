"""A case that the tests of several components score transcripts of."""

from __future__ import annotations

from maporl_cli.agents.answers import read_answer
from maporl_cli.core.types import Episode, Question, Snippet, Turn

ASTHMA = Question(
    id="q",
    text="A woman at 13 weeks of pregnancy has chronic hypertension and persistent asthma. Her blood "
    "pressure is 158/102 mm Hg on two visits. Which drug is the best long-term choice?",
    options={"A": "Lisinopril", "B": "Nifedipine", "C": "Labetalol", "D": "Losartan", "E": "Methyldopa"},
    answer="B",
    rationale="Nifedipine is a preferred drug in pregnancy and safe in asthma. Lisinopril and losartan harm "
    "the fetal kidneys. Labetalol can cause bronchospasm.",
    evidence=(
        Snippet(
            "e1", "Nifedipine is preferred in pregnancy; labetalol should be avoided in asthma.", "guideline"
        ),
        Snippet("e2", "Treatment lowered adverse outcomes from 37.0% to 30.2% in 2408 women.", "rct"),
        Snippet("e3", "Exposure to lisinopril was linked with fetal renal failure.", "cohort"),
    ),
)

AGENTS = ("planner", "researcher", "analyst", "reporter")


def played(*texts: str, question: Question = ASTHMA, agents: tuple[str, ...] = ()) -> Episode:
    """An episode in which the last agents of the team say the texts; or those named."""
    speakers = agents or AGENTS[len(AGENTS) - len(texts) :]
    turns = [
        Turn(
            agent, number // 4, (), (), (), text, finished=True, policy_version=0, evidence=question.evidence
        )
        for number, (agent, text) in enumerate(zip(speakers, texts, strict=True))
    ]
    return Episode(question, 0, 1, turns, read_answer(question, texts[-1]))
