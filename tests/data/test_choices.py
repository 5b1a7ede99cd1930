from __future__ import annotations

import pytest

from maporl_cli.data.choices import cut_choices, gold_letter, read_options, split_choices
from maporl_cli.data.fields import RowError

OPTIONS = {"A": "iron", "B": "zinc", "C": "copper"}


def test_stem_and_options_are_taken_apart():
    stem, options = split_choices("Which metal?\nAnswer Choices: (A) iron (B) zinc (C) copper")
    assert stem == "Which metal?"
    assert options == OPTIONS
    assert list(options) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (
            "(A) B cells (B) V(D)J recombination (C) none (D) all",
            ["B cells", "V(D)J recombination", "none", "all"],
        ),
        ("(A) anti-(D) serum (B) a (C) vitamin (B) complex", ["anti-(D) serum", "a", "vitamin (B) complex"]),
        ("(A) anti-(B) serum (B) y", ["anti-(B) serum", "y"]),
        ("(A) type (Z) x (B) y", ["type (Z) x", "y"]),
        ("(A) x (B) vitamin (A) y", ["x", "vitamin (A) y"]),
        ("(A) x (b) y (B) 2 (ii)", ["x (b) y", "2 (ii)"]),
        ("(A) one\n(B) two\r\n(C) three", ["one", "two", "three"]),
    ],
)
def test_parentheses_out_of_sequence_belong_to_an_option(tail: str, expected: list[str]):
    assert list(split_choices(f"Stem Answer Choices: {tail}")[1].values()) == expected


def test_ten_options_in_one_line():
    texts = [f"choice {letter}" for letter in "ABCDEFGHIJ"]
    line = " ".join(f"({letter}) choice {letter}" for letter in "ABCDEFGHIJ")
    assert list(split_choices(f"Stem\nAnswer Choices: {line}")[1].values()) == texts


def test_the_last_marker_starts_the_choices():
    stem, options = split_choices("The form says Answer Choices: none. Why? Answer Choices: (A) x (B) y")
    assert stem == "The form says Answer Choices: none. Why?"
    assert options == {"A": "x", "B": "y"}


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Stem", "no options: there is no"),
        ("Stem Answer Choices: iron, zinc", "no options: what follows"),
        ("Stem Answer Choices: (A) iron", "no options: what follows"),
        ("Stem Answer Choices: see (A) iron (B) zinc", "no options: what follows"),
        ("Stem Answer Choices: (B) iron (C) zinc", "no options: what follows"),
        ("Stem Answer Choices: (A) iron (B) (C) zinc", "the text of option B is empty"),
        ("Answer Choices: (A) iron (B) zinc", "the question before its choices is empty"),
        ("Stem Answer Choices: (A) vitamin (B) deficiency (B) scurvy", r"two ways: two marks \(B\)"),
        ("Stem Answer Choices: (A) x (B) y (C) z (C) w", r"two ways: two marks \(C\)"),
    ],
)
def test_choices_that_cannot_be_told_apart_are_refused(question: str, reason: str):
    with pytest.raises(RowError, match=reason):
        split_choices(question)


@pytest.mark.parametrize(
    "value",
    [
        {"A": "iron", "B": "zinc", "C": "copper"},
        ["iron", "zinc", "copper"],
        [{"letter": letter, "content": content} for letter, content in OPTIONS.items()],
        {"a": " iron ", "b": "zinc", "c": "copper"},
    ],
)
def test_options_are_read_from_every_shape(value: object):
    assert read_options(value) == OPTIONS


def test_options_keep_the_order_of_their_row():
    assert list(read_options({"B": "zinc", "A": "iron"})) == ["B", "A"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "neither a list nor an object"),
        ("A) iron B) zinc", "neither a list nor an object"),
        ([], "no options"),
        ({}, "no options"),
        (["iron"], "only one option"),
        (["iron", ""], "the text of option B is empty"),
        (["iron", 5], "the text of option B is not text but a number"),
        (["iron", None], "the text of option B is missing"),
        (
            [{"letter": "A", "content": "x"}, {"letter": "A", "content": "y"}],
            "duplicate letter: two options are A",
        ),
        (
            [{"letter": "A", "content": "x"}, {"letter": "a", "content": "y"}],
            "duplicate letter: two options are A",
        ),
        ([{"letter": "A", "content": "x"}, {"content": "y"}], "option 2 has no letter"),
        ({"A": "x", "AB": "y"}, "option 2 has no letter"),
        ({"1": "x", "2": "y"}, "option 1 has no letter"),
        ({"A": "x", "B": "\ud800"}, "bad unicode in the text of option B"),
        ([str(number) for number in range(27)], "more than 26 options"),
    ],
)
def test_bad_options_are_refused_with_the_reason(value: object, reason: str):
    with pytest.raises(RowError, match=reason):
        read_options(value)


@pytest.mark.parametrize(
    "row",
    [
        {"label": "B"},
        {"label": ["B"]},
        {"label": "b"},
        {"label": 1},
        {"answer_idx": "B"},
        {"answer_idx": 1},
        {"answer": "zinc"},
        {"answer": " ZINC "},
        {"answer": "B"},
        {"answer": "zinc", "answer_idx": "B"},
        {"answer": "B", "label": ["B"], "answer_idx": 1},
        {"label": None, "answer_idx": "B"},
    ],
)
def test_a_gold_letter_is_read_from_every_shape(row: dict[str, object]):
    assert gold_letter(row, OPTIONS) == "B"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": ["A", "B"]}, "two labels: 'label' lists 2"),
        ({"label": "A", "answer_idx": "B"}, "two labels: 'label' and 'answer_idx' disagree"),
        ({"answer": "iron", "answer_idx": "B"}, "two labels: 'answer_idx' and 'answer' disagree"),
        ({"label": "D"}, "the gold letter D is not among the options A, B, C"),
        ({"label": 3}, "'label' is index 3, but 3 options"),
        ({"answer_idx": -1}, "'answer_idx' is index -1"),
        ({"label": True}, "'label' is not text but true or false"),
        ({"label": "zinc"}, "'label' is not the letter of an option"),
        ({"answer": "gold"}, "'answer' is not the letter or text of an option"),
        ({"label": {"A": 1}}, "'label' is not text but an object"),
    ],
)
def test_a_bad_label_is_refused_with_the_reason(row: dict[str, object], reason: str):
    with pytest.raises(RowError, match=reason):
        gold_letter(row, OPTIONS)


@pytest.mark.parametrize("row", [{}, {"label": None}, {"label": []}, {"label": "", "answer_idx": None}])
def test_no_label_is_no_letter(row: dict[str, object]):
    assert gold_letter(row, OPTIONS) == ""


def test_an_answer_that_fits_two_options_needs_another_label():
    swapped = {"A": "B", "B": "A"}
    with pytest.raises(RowError, match="more than one option: A, B"):
        gold_letter({"answer": "A"}, swapped)
    assert gold_letter({"answer": "A", "label": "B"}, swapped) == "B"


def test_a_right_answer_that_two_options_give_is_refused():
    twins = {"A": "zinc", "B": "iron  oxide", "C": "iron oxide"}
    with pytest.raises(RowError, match="two options are the right answer: B and C have the same text"):
        gold_letter({"label": "C"}, twins)
    assert gold_letter({"label": "A"}, twins) == "A"  # two wrong ones of the same text mislead nobody
    assert gold_letter({"label": "A"}, {"A": "AA", "B": "Aa"}) == "A"  # genotypes differ by case alone


def test_a_reason_never_quotes_the_row():
    with pytest.raises(RowError) as caught:
        gold_letter({"answer": "the patient Jane Roe"}, OPTIONS)
    assert "Jane" not in str(caught.value)


def test_choices_in_the_text_are_cut_where_they_are_the_options():
    assert cut_choices("Which?\nAnswer Choices: (A) iron  (B) zinc (C) copper", OPTIONS) == "Which?"
    assert cut_choices("Which?", OPTIONS) == "Which?"
    assert (
        cut_choices("Read the Answer Choices: they matter", OPTIONS) == "Read the Answer Choices: they matter"
    )


def test_choices_in_the_text_that_differ_from_the_options_are_refused():
    with pytest.raises(RowError, match="differ from its options"):
        cut_choices("Which? Answer Choices: (A) iron (B) lead (C) copper", OPTIONS)
