"""Whatever a transcript holds: in range, finite, in bounded time, and the same in any company."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maporl_cli.agents.answers import read_answer
from maporl_cli.agents.roles import role_book
from maporl_cli.core.config import RewardConfig
from maporl_cli.core.types import Episode, Question, Snippet, Turn
from maporl_cli.rewards.medical import Reward
from maporl_cli.rewards.similarity import PACKAGED

AGENTS = ("planner", "researcher", "analyst", "reporter")
PIECES = st.sampled_from(
    [
        "Labetalol is the best drug because of asthma.",
        "Avoid lisinopril in pregnancy [e1].",
        "Answer: B (85%). Not medical advice.",
        "not not never without",
        "[e1] [e9] [] [[",
        "she is, pregnant, and, no, fever",
        "confidence: 1e9 %",
        "eGFR < 22",
    ]
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=8).map(" ".join))


def judge(model: str | None = None) -> Reward:
    return Reward(RewardConfig(similarity_model=model), role_book("guide"))


PLAIN = judge()


def episode(question: Question, turns: list[tuple[str, str]]) -> Episode:
    spoken = [
        Turn(
            agent, number // 4, (), (), (), text, finished=True, policy_version=0, evidence=question.evidence
        )
        for number, (agent, text) in enumerate(turns)
    ]
    answer = read_answer(question, spoken[-1].text) if spoken else None
    return Episode(question, 0, 1, spoken, answer)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    options = draw(st.lists(TEXTS, max_size=5).filter(lambda texts: len(texts) != 1))
    lettered = dict(zip("ABCDE", options, strict=False))
    gold = draw(st.just("") | (st.sampled_from(list(lettered)) if lettered else TEXTS))
    evidence = draw(
        st.lists(st.builds(Snippet, st.sampled_from(["e1", "e2", "", "é"]), TEXTS, TEXTS), max_size=2)
    )
    return Question(
        "q", draw(TEXTS), lettered, gold, context=draw(TEXTS), evidence=tuple(evidence), rationale=draw(TEXTS)
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(questions(), st.lists(st.tuples(st.sampled_from(AGENTS), TEXTS), max_size=9), st.floats(0, 1))
def test_every_score_is_in_range_and_finite(question, turns, verified):
    one = episode(question, turns)
    one.verified = verified
    PLAIN.score([[one]])
    assert one.score is not None
    for value in (one.score.total, one.score.task, *one.score.components.values()):
        assert math.isfinite(value)
        assert -1e-9 <= value <= 1 + 1e-9
    for name, value in one.score.components.items():
        assert (value > 0) or name in one.score.reasons or name == "safety", f"{name} is 0 without a reason"


LONG = Question(
    "q",
    "A pregnant woman with asthma and eGFR 22 has a thunderclap headache. Which drug is the best?",
    {"A": "Lisinopril", "B": "Nifedipine", "C": "Labetalol"},
    "B",
    evidence=(Snippet("e1", "Nifedipine is safe in pregnancy."),),
    rationale="Nifedipine is safe in asthma and in pregnancy.",
)


@pytest.mark.parametrize(
    "piece",
    [
        "Nifedipine is safe in asthma [e1]. ",
        "answer ",
        "a" * 50,
        "not ",
        "((((",
        "A, B, ",
        "% 9",
        "\u0301é ",
        "1.",
    ],
)
def test_megabytes_end_in_bounded_time(piece):
    """Not a timing: without a bound a megabyte of some of these would take hours."""
    text = piece * (2_000_000 // len(piece))
    one = episode(LONG, [("planner", text), ("reporter", text)])
    began = time.monotonic()
    PLAIN.score([[one]])
    assert time.monotonic() - began < 60
    assert one.score is not None
    assert one.score.total <= 1


def test_no_turns():
    one = episode(LONG, [])
    PLAIN.score([[one]])
    assert one.score is not None
    assert one.score.components["accuracy"] == 0.0
    assert one.score.total < 0.5


@pytest.mark.parametrize("model", [None, PACKAGED])
def test_company_changes_nothing(model):
    texts = [
        "Nifedipine is safe in asthma. Answer: B (90%). Not medical advice.",
        "Nifedipine, which does not narrow the airways, is the better drug for this woman here. Answer: B",
        "Answer: B",
        "Lisinopril should be given. Answer: A",
    ]

    def group() -> list[Episode]:
        return [episode(LONG, [("planner", "Which drug?"), ("reporter", text)]) for text in texts]

    together, alone, backwards = group(), group(), group()
    judge(model).score([[one] for one in together])
    for one in alone:
        judge(model).score([[one]])
    judge(model).score([[one] for one in reversed(backwards)])
    for first, second, third in zip(together, alone, backwards, strict=True):
        assert first.score is not None
        assert second.score is not None
        assert third.score is not None
        assert second.score.total == pytest.approx(first.score.total, abs=1e-6)
        assert third.score.total == pytest.approx(first.score.total, abs=1e-6)
        assert second.score.components == pytest.approx(first.score.components, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["answer" + " " * 20_000 + "!", "." * 20_000 + "x", "not," * 5_000, "e.g. " * 4_000]
)
def test_rows_of_one_sign_take_no_square_of_time(text):
    for question in (LONG, Question("q", "What is it?", {}, "anemia")):
        one = episode(question, [("reporter", text)])
        began = time.monotonic()
        PLAIN.score([[one]])
        assert time.monotonic() - began < 10
