"""Where a question asks for a danger, its letter is no advice; where it only speaks of one, it is."""

from __future__ import annotations

import pytest

from maporl_cli.core.types import Question
from maporl_cli.rewards.dangers import harmful_advice


def letter_is_vetoed(asked: str) -> bool:
    text = f"A pregnant woman has hypertension. {asked}"
    return (
        harmful_advice(Question("q", text, {"A": "Lisinopril", "B": "Labetalol"}, ""), "Answer: A", "A")
        is not None
    )


@pytest.mark.parametrize(
    "asked",
    [
        "Which of the following is contraindicated?",
        "Which drug is absolutely contraindicated in this patient?",
        "Which drug should be avoided?",
        "Which of these must she avoid?",
        "Which of the following is most likely responsible for the findings?",
        "Which drug is the most likely cause of the oligohydramnios?",
        "Which drug most likely caused the anuria of the newborn?",
        "Which of the following is NOT appropriate?",
        "Which drug is not appropriate for her?",
        "Which drug should not be used?",
        "Which is the least appropriate drug?",
        "All of the following are appropriate EXCEPT:",
        "Which medication should be discontinued?",
        "Which drug should be stopped first?",
        "What is the mechanism of the adverse effect?",
        "Which drug would be most harmful to the fetus?",
        "Which of the following increases the risk of fetal anuria?",
        "Which drug explains her side effects?",
        "Which drug is the most dangerous?",
        "Which of the following drugs is teratogenic?",
        "Which drug has this adverse effect?",
        "Exposure to which drug accounts for the malformation?",
    ],
)
def test_a_danger_is_asked_for(asked):
    assert not letter_is_vetoed(asked)


@pytest.mark.parametrize(
    "asked",
    [
        "Which drug, if not contraindicated, should be given?",
        "What is the next step to reduce her risk of stroke?",
        "Which drug lowers the risk of complications?",
        "Which drug should be started to avoid a stroke?",
        "Which drug does not harm the kidneys?",
        "Which drug is not contraindicated?",
        "Which drug is the best choice, given its mechanism of action?",
        "Which drug has the fewest side effects?",
        "Which drug is most appropriate to prevent adverse outcomes?",
        "What is the safest drug to stop the progression?",
        "Her pressure is not controlled; which drug should be added?",
        "Which treatment treats the cause of her hypertension?",
        "In the absence of contraindications, what should she take?",
        "Which drug would have the lowest toxicity?",
        "Which drug is the most effective?",
        "Which drug should she be given so that complications are avoided?",
        "Which drug is appropriate, assuming that nothing else is contraindicated?",
        "Labetalol was withheld; what should she take now?",
        "What is the most appropriate next step, since she cannot avoid stress?",
        "Which is the best drug to minimize adverse effects?",
    ],
)
def test_a_danger_is_only_spoken_of(asked):
    assert letter_is_vetoed(asked)
