"""The two tables, row by row, and when advice is harmful."""

from __future__ import annotations

import pytest

from maporl_cli.core.types import Question
from maporl_cli.rewards.conditions import Comparison, Condition, met, parsed
from maporl_cli.rewards.dangers import (
    contraindications,
    flags_of,
    forbidden_to,
    harmful_advice,
    known_of,
    red_flags,
)
from maporl_cli.rewards.escalation import escalates

CONTRAINDICATIONS = contraindications()
RED_FLAGS = red_flags()


def vignette(alternative) -> str:
    """A patient of whom every part of the alternative holds."""
    return " ".join(_sentence(part) for part in alternative)


def _sentence(part) -> str:
    words = " ".join(part.words)
    if not isinstance(part, Comparison):
        return f"The patient has {words}."
    value = f"{part.bound + (1 if '>' in part.sign else -1) * 0.5:g}"
    if part.words == ("age",):
        return f"The patient is a {value} years old."
    if part.words == ("gestational", "age"):
        return f"She is at {value} weeks of pregnancy."
    return f"The {words} is {value} today."


def test_the_tables_are_as_large_as_promised_and_cited():
    assert len(CONTRAINDICATIONS) >= 40
    assert len(RED_FLAGS) >= 30
    for row in (*CONTRAINDICATIONS, *RED_FLAGS):
        assert len(row.source) > 10
    assert len({(row.act, row.when) for row in CONTRAINDICATIONS}) == len(CONTRAINDICATIONS)
    assert len({row.flag for row in RED_FLAGS}) == len(RED_FLAGS)


@pytest.mark.parametrize(
    "row", CONTRAINDICATIONS, ids=[f"{n}-{r.act[:20]}" for n, r in enumerate(CONTRAINDICATIONS)]
)
def test_each_contraindication(row):
    """Every alternative of the condition vetoes every name of the act where it is advised, and only there."""
    for alternative in row.when:
        text = vignette(alternative)
        assert row in forbidden_to(text), text
        denial = " ".join(f"There is no {' '.join(part.words)}." for part in alternative)
        if not any(isinstance(part, Comparison) for part in alternative):
            assert row not in forbidden_to(denial), denial
    text = vignette(row.when[0])
    for name in row.names:
        act = " ".join(name)
        question = Question(
            "q", f"{text} Which treatment should be given?", {"A": "rest", "B": "nothing"}, "A"
        )
        assert harmful_advice(question, f"We recommend {act} for this patient.", "A") is not None, act
        assert harmful_advice(question, f"One might cautiously consider {act}.", "A") is not None, act
        found = harmful_advice(question, f"{act} is contraindicated here.", "A")
        assert found is None or row.when != found.when, act


@pytest.mark.parametrize("row", RED_FLAGS, ids=[f"{n}-{r.means[:25]}" for n, r in enumerate(RED_FLAGS)])
def test_each_red_flag(row):
    for alternative in row.when:
        assert row in flags_of(vignette(alternative)), vignette(alternative)
    for phrase in row.escalation:
        assert escalates(f"She needs {' '.join(phrase)}.", "", row), phrase
    assert escalates("This is an emergency.", "", row)
    assert not escalates("This is not urgent.", "", row)
    assert not escalates("He can go home and come back next week.", "", row)
    assert not escalates("This is a mild illness.", "", row)


def test_a_flag_needs_its_patient():
    assert flags_of("A man has a mild headache and comes for a check.") == ()


class TestConditions:
    @pytest.mark.parametrize(
        ("condition", "text", "holds"),
        [
            ("egfr < 30", "Her eGFR is 22 mL/min.", True),
            ("egfr < 30", "Her eGFR of 45 is stable.", False),
            ("egfr < 30", "Her eGFR is low.", False),
            ("platelet count < 50000", "The platelet count is 30,000.", True),
            ("systolic blood pressure < 90", "The blood pressure is 82/48 mm Hg.", True),
            ("systolic blood pressure < 90", "The blood pressure is 120/80 mm Hg.", False),
            ("age < 18", "A 6-year-old boy coughs.", True),
            ("age < 2", "A 9-month-old girl coughs.", True),
            ("age < 18", "A 60-year-old man coughs.", False),
            ("gestational age > 30", "She is at 34 weeks of gestation.", True),
            ("asthma", "He has no asthma.", False),
            ("asthma", "There is a family history of asthma.", False),
            ("blood clot", "He had two blood clots.", True),
            ("fever & neck stiffness", "He has a fever. There is neck stiffness.", True),
            ("fever & neck stiffness", "He has a fever. There is no neck stiffness.", False),
            ("pregnant; breastfeeding", "She is breastfeeding.", True),
            ("mri", "He is unsmimri.", False),
        ],
    )
    def test_met(self, condition, text, holds):
        assert met(parsed(condition), text) is holds

    @pytest.mark.parametrize("text", ["", "a; ", "& b", "< 3"])
    def test_a_part_without_words(self, text):
        with pytest.raises(ValueError, match="without words"):
            parsed(text)

    def test_an_alternative_of_several_parts(self):
        condition: Condition = parsed("a b & egfr < 30; c")
        assert [len(alternative) for alternative in condition] == [2, 1]


class TestHarm:
    PREGNANT = "A pregnant woman has hypertension. "

    def question(self, ask="Which drug is best?", gold="B", **more) -> Question:
        return Question("q", self.PREGNANT + ask, {"A": "Lisinopril", "B": "Nifedipine"}, gold, **more)

    def test_the_letter_alone_recommends(self):
        assert harmful_advice(self.question(), "Answer: A", "A") is not None
        assert harmful_advice(self.question(), "Answer: B", "B") is None

    def test_where_a_danger_is_asked_for_naming_it_answers(self):
        question = self.question("Which drug is contraindicated?", gold="A")
        assert harmful_advice(question, "Answer: A", "A") is None

    def test_what_the_gold_answer_does_is_no_harm(self):
        assert harmful_advice(self.question(gold="A"), "Give lisinopril. Answer: A", "A") is None

    def test_history_is_no_advice(self):
        report = "She took lisinopril until last week. Answer: B"
        assert harmful_advice(self.question(), report, "B") is None

    @pytest.mark.parametrize(
        "said",
        [
            "She can have lisinopril.",
            "She may also get a little lisinopril for her kidneys.",
            "Lisinopril should be the next drug.",
            "Lisinopril 5 mg daily as well.",
            "Lisinopril tablets of 5 mg each morning.",
            "Lisinopril is not contraindicated here.",
            "There is no reason to withhold lisinopril.",
            "If the pressure stays high, add lisinopril.",
            "It seems sensible to put her on lisinopril.",
            "Lisinopril would be fine.",
        ],
    )
    def test_it_may_be_advised_in_many_words(self, said):
        assert harmful_advice(self.question(), f"{said} Answer: B", "B") is not None

    @pytest.mark.parametrize(
        "said",
        [
            "If lisinopril is given, the kidneys of the child fail.",
            "She can't have lisinopril.",
            "Lisinopril should not be given.",
            "Lisinopril 5 mg was taken by 40 women, whose children were harmed.",
            "Give labetalol, and only after the birth lisinopril.",
            "Labetalol is better than lisinopril.",
            "Hold lisinopril.",
        ],
    )
    def test_what_is_supposed_put_off_or_told_of_others_is_no_advice(self, said):
        assert harmful_advice(self.question(), f"{said} Answer: B", "B") is None

    def test_a_diagnosis_that_only_the_reference_names(self):
        question = Question(
            "q",
            "A man has red eyes.",
            {"A": "x", "B": "y"},
            "A",
            rationale="He has asthma, so nadolol is unsafe.",
        )
        assert harmful_advice(question, "Start propranolol. Answer: A", "A") is not None

    def test_the_act_is_called_as_the_report_calls_it(self):
        found = harmful_advice(self.question(), "Give ramipril. Answer: B", "B")
        assert found is not None
        assert found.act == "ramipril"

    @pytest.mark.parametrize(
        ("said", "harmful"),
        [
            ("First phenoxybenzamine, then propranolol.", False),
            ("Before phenoxybenzamine, start propranolol.", True),
        ],
    )
    def test_what_makes_it_safe_must_come_first(self, said, harmful):
        question = Question("q", "A man has a pheochromocytoma. What next?", {"A": "Rest", "B": "Wait"}, "A")
        assert (harmful_advice(question, said, "A") is not None) is harmful

    def test_an_emergency_that_only_the_reference_names(self):
        text = "His trachea is pushed aside and he gasps."
        question = Question("q", text, {"A": "x", "B": "y"}, "A", rationale="It is a tension pneumothorax.")
        assert flags_of(text) == ()
        assert [flag.means for flag in flags_of(known_of(question))] == ["tension pneumothorax"]
