"""What counts as an answer, and what is hedging."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import question

from maporl_cli.agents.answers import is_correct, read_answer
from maporl_cli.core.types import Question

FIVE = question(answer="C", options=["aspirin", "heparin", "amoxicillin", "insulin", "rest"])
FREE = Question(id="f", text="Which drug?", options={}, answer="Amoxicillin clavulanate")


@pytest.mark.parametrize(
    ("report", "letter"),
    [
        ("Answer: C", "C"),
        ("answer: c", "C"),
        ("ANSWER : C.", "C"),
        ("Answer:\nC", "C"),
        ("Answer: (C)", "C"),
        ("Answer: C)", "C"),
        ("Answer: C, since it fits", "C"),
        ("Answer: C (about 93% sure). For information only.", "C"),
        ("Answer: C (confidence: 90 %), as D would be late", "C"),
        ("Answer: C (~85%)", "C"),
        ("Answer: option C", "C"),
        ("Answer - option (c) fits", "C"),
        ("The answer is C", "C"),
        ("So the final answer is (d), I am sure.", "D"),
        ("I weighed them all. Answer: B\nConfidence: 85", "B"),
        # the guide's reporter is asked for a confidence right behind the letter
        ("Answer: C 85", "C"),
        ("Answer: C 85%", "C"),
        ("Answer: C (85%)", "C"),
        ("**Answer:** C", "C"),
        ("**Answer: C**", "C"),
        # a later statement counts, and the same letter twice is one answer
        ("The answer is not X. Answer: A", "A"),
        ("Answer: C. I repeat: answer: (C)", "C"),
        ("Answer: (C) because (B) is harmful", "C"),
        ("Answer: C. B is harmful", "C"),
        ("Answer: C, a beta blocker", "C"),
        # what a report puts between the letter and its end
        ("Answer: C – nifedipine (90%)", "C"),
        ("Answer: C -- not medical advice", "C"),
        ("Answer: C [1] (90%). Not medical advice.", "C"),
        ("Answer: C. In 5% of cases it fails.", "C"),
        ("Answer: C because it fits", "C"),
        ("Answer: C with high confidence", "C"),
        ("Answer: C, as hepatitis B or E is unlikely", "C"),
        # a thought before the answer is not a second one
        ("The answer might be B at first sight. Answer: C", "C"),
        # without a statement: one letter in parentheses, however often
        ("answer amoxicillin now (C)", "C"),
        ("It must be (D). Yes, (D)!", "D"),
        # or the report opens with it
        ("C", "C"),
        ("  E  ", "E"),
        ("C. amoxicillin", "C"),
        ("C) amoxicillin", "C"),
        ("C: amoxicillin", "C"),
    ],
)
def test_an_answer_that_is_committed_to(report, letter):
    assert read_answer(FIVE, report) == letter


@pytest.mark.parametrize(
    "report",
    [
        "",
        "   \n ",
        "no idea",
        "amoxicillin",
        "A 45-year-old man with a cough needs C",
        "Answer: A 45-year-old man with a cough",
        "The answer is A rare disease",
        "Answer: amoxicillin",
        "Answers: C",
        "A B C D E",
        "ABCDE",
        "c. amoxicillin",
        "(c)",
        "(B) because (C) is wrong",
        "Answer: A. Answer: B",
        "Answer: A or B",
        "Answer: A, B",
        "Answer: A, B, C, D, E",
        "Answer: A/B",
        "Answer: A.B.C.D.E",
        "Answer: (A)(B)",
        "Answer: (A) or (B)",
        "Answer: A) or B)",
        "Answer: C, or B.",
        "Answer: C (B)",
        "the answer is a, b or c",
        # a second answer beside the first, or after it
        "Answer: D (50%), E (50%)",
        "Answer: D 60%, E 40%",
        "Answer: D (50%) or maybe E",
        "Answer: D with E as an alternative (60%) (D)",
        "Answer: D, alternatively E.",
        "Answer: D – E",
        "Answer: D [1] or E [2]",
        "Answer: D/E (D)",
        "Answer: D or a statin (D)",
        "Answer: D. Alternatively the answer might be E.",
        "Answer: D. Alternatively, E.",
        "Answer: D (90%). The answer could also be (E).",
        # stated letters outrank the rest, also where they name no option
        "Answer: F",
        "Answer: Z. But (C) looks good",
        "Answer: F. Answer: C",
        "(F)",
        "F. something else",
        "Answer: С",  # noqa: RUF001  # a Cyrillic letter
        "Answer: Ｃ",  # noqa: RUF001  # a full-width letter
        "Answer: \N{KELVIN SIGN}",
        "答案：C",  # noqa: RUF001
        "The answer is not C.",
    ],
)
def test_no_single_answer(report):
    assert read_answer(FIVE, report) is None


def test_only_the_questions_own_letters_count():
    assert read_answer(question(), "Answer: C") is None
    assert read_answer(question(), "Answer: B") == "B"
    odd = Question(id="q", text="t", options={"D": "x", "F": "y"}, answer="F")
    assert [read_answer(odd, f"Answer: {letter}") for letter in "DEF"] == ["D", None, "F"]


SMALL = Question(id="q", text="t", options={"a": "aspirin", "b": "heparin"}, answer="b")


@pytest.mark.parametrize("report", ["Answer: b", "Answer: B (90%)", "It is (b).", "b) heparin", "b"])
def test_lower_case_letters_of_options(report):
    assert read_answer(SMALL, report) == "b"


def test_letters_that_differ_by_their_case_alone_are_not_guessed():
    odd = Question(id="q", text="t", options={"a": "x", "A": "y"}, answer="a")
    assert read_answer(odd, "Answer: a") is None
    assert read_answer(SMALL, "Answer: c") is None
    assert read_answer(SMALL, "(a) because (b) is wrong") is None


PIECES = st.lists(
    st.sampled_from([*"ABCDEFabcf:(),.-*\n ", "Answer", "answer", " is", "option ", "or", "85%"]),
    max_size=14,
).map("".join)


@given(st.one_of(st.text(max_size=80), PIECES))
@example("answer: \N{LATIN SMALL LETTER LONG S}.")
@example("answer: \N{LATIN SMALL LETTER DOTLESS I}.")
def test_whatever_is_read_is_an_option(report):
    assert read_answer(FIVE, report) in {None, "A", "B", "C", "D", "E"}


@given(PIECES)
def test_a_clear_statement_of_another_letter_never_leaves_the_first_one_standing(report):
    assert read_answer(FIVE, f"Answer: A\n{report}\nAnswer: B") is None


@given(
    st.lists(st.sampled_from("ABCDE"), min_size=2, max_size=5, unique=True),
    st.sampled_from([", ", " or ", "/", " "]),
)
def test_dumping_letters_is_no_answer(letters, separator):
    for report in (separator.join(letters), separator.join(f"({letter})" for letter in letters)):
        assert read_answer(FIVE, f"Answer: {report}") is None
        assert read_answer(FIVE, report) is None


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("Answer: amoxicillin now", "amoxicillin now"),
        ("I think so.\nanswer : amoxicillin \nConfidence: 90", "amoxicillin"),
        ("  amoxicillin clavulanate ", "amoxicillin clavulanate"),
        ("Answer: amoxicillin (90). Not medical advice.", "amoxicillin"),
        ("Answer: amoxicillin.", "amoxicillin"),
        ("Answer: vitamin B12 (80 %); not medical advice", "vitamin B12"),
        ("Answer: interleukin (IL) 6", "interleukin (IL) 6"),
        ("Answer: (90). Not medical advice.", None),
        ("", None),
        ("  \n", None),
    ],
)
def test_free_text(report, text):
    assert read_answer(FREE, report) == text


def test_a_disclaimer_said_over_and_over_is_read_at_once():
    report = "Answer: iron" + ". Not medical advice" * 60 + " x"
    assert read_answer(FREE, report) == report.removeprefix("Answer: ")
    assert read_answer(FREE, report.removesuffix(" x")) == "iron"


@given(st.text(max_size=60))
def test_free_text_is_never_empty(report):
    assert read_answer(FREE, report) != ""


@pytest.mark.parametrize(
    ("asked", "answer", "correct"),
    [
        (FIVE, "C", True),
        (FIVE, "B", False),
        (FIVE, "c", False),
        (FIVE, None, False),
        (FREE, "amoxicillin  CLAVULANATE ", True),
        (FREE, "amoxicillin", False),
        (FREE, None, False),
    ],
)
def test_correct_is_the_gold_answer_alone(asked, answer, correct):
    assert is_correct(asked, answer) is correct


@pytest.mark.parametrize("options", [{}, {"A": "x", "B": "y"}])
def test_without_a_gold_answer_nothing_is_right_or_wrong(options):
    for answer in ("A", None):
        with pytest.raises(ValueError, match="question q has no gold answer"):
            is_correct(Question("q", "t", options, answer=""), answer)
