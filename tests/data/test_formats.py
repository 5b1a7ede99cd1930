from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from maporl_cli.core.types import Question, Snippet
from maporl_cli.data.choices import MARKER
from maporl_cli.data.fields import RowError
from maporl_cli.data.formats import RESERVED_FIELDS, read_row, to_row

PUBMEDQA = {
    "QUESTION": "Does it help?",
    "CONTEXTS": ["First finding.", "Second finding."],
    "LABELS": ["BACKGROUND", "RESULTS"],
    "MESHES": ["Humans"],
    "YEAR": "2007",
    "reasoning_required_pred": "no",
    "final_decision": "no",
    "LONG_ANSWER": "It does not.",
}


def test_medxpertqa():
    row = {
        "id": "Text-9",
        "question": "Which?\nAnswer Choices: (A) iron (B) zinc",
        "options": [{"letter": "A", "content": "iron"}, {"letter": "B", "content": "zinc"}],
        "label": ["B"],
        "medical_task": "Diagnosis",
        "body_system": "Other / NA",
    }
    assert read_row(row) == (
        Question(
            id="Text-9",
            text="Which?",
            options={"A": "iron", "B": "zinc"},
            answer="B",
            labels={"medical_task": "Diagnosis", "body_system": "Other / NA"},
        ),
        "medxpertqa",
    )


def test_medxpertqa_as_on_the_hub():
    question, form = read_row(
        {"id": "Text-9", "question": "Which?", "options": {"A": "x", "B": "y"}, "label": "A"}
    )
    assert (question.answer, question.options, form) == ("A", {"A": "x", "B": "y"}, "medxpertqa (hub)")


def test_medqa_and_medagents_benchmark():
    question, form = read_row(
        {
            "question": "Which?",
            "options": {"A": "x", "B": "y"},
            "answer": "y",
            "answer_idx": "B",
            "meta_info": "step1",
        }
    )
    assert (question.answer, form) == ("B", "medqa")
    assert question.labels == {"meta_info": "step1"}


def test_a_list_of_texts_with_an_index():
    question, form = read_row({"question": "Which?", "options": ["x", "y", "z"], "answer_idx": 2})
    assert (question.answer, question.options["C"], form) == ("C", "z", "list of options")


def test_choices_in_the_question():
    question, form = read_row(
        {"question": "Which? Answer Choices: (A) x (B) y", "label": ["A"], "subject": "anatomy"}
    )
    assert (question.text, question.answer, question.labels) == ("Which?", "A", {"subject": "anatomy"})
    assert form == "choices in the question"


def test_medmcqa():
    row = {
        "id": "uuid-1",
        "question": "Which?",
        "opa": "w",
        "opb": "x",
        "opc": "y",
        "opd": "z",
        "cop": 0,
        "choice_type": "single",
        "exp": "Because.",
        "subject_name": "Anatomy",
        "topic_name": None,
    }
    question, form = read_row(row)
    assert form == "medmcqa"
    assert (question.answer, question.options["A"], question.options["D"]) == ("A", "w", "z")
    assert question.rationale == "Because."
    assert question.labels == {"choice_type": "single", "subject": "Anatomy"}
    assert read_row({**row, "cop": 3, "exp": None})[0].answer == "D"
    with pytest.raises(RowError, match="the label is missing"):
        read_row({**row, "cop": -1})  # as in its test split
    with pytest.raises(RowError, match="index 4"):
        read_row({**row, "cop": 4})
    with pytest.raises(RowError, match="the label is missing"):
        read_row({**row, "cop": None})
    with pytest.raises(RowError, match=r"option C \('opc'\) is missing"):
        read_row({**row, "opc": None})


def test_pubmedqa():
    question, form = read_row(PUBMEDQA, "10808977")
    assert question == Question(
        id="10808977",
        text="Does it help?",
        options={"A": "yes", "B": "no", "C": "maybe"},
        answer="B",
        evidence=(Snippet("E1", "First finding."), Snippet("E2", "Second finding.")),
        rationale="It does not.",
        labels={"YEAR": "2007"},
    )
    assert form == "pubmedqa"


def test_pubmedqa_as_on_the_hub():
    row = {
        "pubid": 21645374,
        "question": "Does it help?",
        "context": {"contexts": ["First finding."], "labels": ["X"], "meshes": []},
        "long_answer": "It does.",
        "final_decision": "maybe",
    }
    question, form = read_row(row)
    assert form == "pubmedqa (hub)"
    assert (question.id, question.answer, question.context) == ("21645374", "C", "")
    assert question.evidence == (Snippet("E1", "First finding."),)
    assert question.rationale == "It does."


def test_free_text():
    row = {"id": "t1", "question": "What now?", "context": "A 40-year-old man.", "answer": "Aspirin."}
    assert read_row(row) == (
        Question(id="t1", text="What now?", options={}, answer="Aspirin.", context="A 40-year-old man."),
        "free text",
    )


def test_our_own_shape():
    row = {
        "id": "c1",
        "question": "Which?",
        "context": "Allergic to penicillin.",
        "options": [{"letter": "A", "content": "x"}, {"letter": "B", "content": "y"}],
        "label": ["A"],
        "evidence": [{"id": "E1", "text": "Give x."}],
    }
    question, form = read_row(row)
    assert form == "maporl"
    assert question.context == "Allergic to penicillin."
    assert question.evidence == (Snippet("E1", "Give x."),)


def test_a_row_without_id_has_one_of_its_content():
    row = {"question": "Which?", "options": ["x", "y"], "label": "A"}
    name = read_row(row)[0].id
    assert read_row({**row, "label": "B", "subject": "s"})[0].id == name
    assert name.startswith("q-")
    others = [{**row, "question": "Who?"}, {**row, "options": ["x", "z"]}, {**row, "context": "c"}]
    assert len({name, *(read_row(other)[0].id for other in others)}) == 4
    assert read_row({**row, "id": 7})[0].id == "7"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "not an object but null"),
        (["x"], "not an object but a list"),
        ("x", "not an object but text"),
        (3, "not an object but a number"),
        (True, "not an object but true or false"),
        ({}, "'question' is missing"),
        ({"label": "A"}, "'question' is missing"),
        ({"options": ["x", "y"], "label": "A"}, "'question' is missing"),
        ({"question": "", "options": ["x", "y"], "label": "A"}, "'question' is empty"),
        ({"question": " \n", "answer": "x"}, "'question' is empty"),
        ({"question": 5, "answer": "x"}, "'question' is not text but a number"),
        ({"question": "Which\ud800?", "answer": "x"}, "bad unicode in 'question'"),
        ({"question": "Which?"}, "no options and no answer"),
        ({"question": "Which?", "label": "A"}, "no options and no answer"),
        ({"question": "Which?", "answer": ""}, "the label is missing"),
        ({"question": "Which?", "answer": None}, "the label is missing"),
        ({"question": "Which?", "answer": 3}, "'answer' is not text but a number"),
        ({"question": "Which?", "options": None, "label": "A"}, "no options"),
        ({"question": "Which?", "options": ["x", "y"]}, "the label is missing"),
        ({"question": "Which?", "options": ["x", "y"], "label": "C"}, "gold letter C is not among"),
        ({"question": f"Which? {MARKER} (A) x (B) y"}, "the label is missing"),
        (
            {"question": "Which?", "options": ["x", "y"], "label": "A", "context": ["c"]},
            "'context' is not text",
        ),
        (
            {"question": "Which?", "options": ["x", "y"], "label": "A", "evidence": "e"},
            "'evidence' is not a list",
        ),
        (
            {"question": "Which?", "options": ["x", "y"], "label": "A", "evidence": ["e"]},
            "evidence 1 is not an object",
        ),
        (
            {"question": "Which?", "options": ["x", "y"], "label": "A", "evidence": [{"text": "e"}]},
            "evidence 1 has no id",
        ),
        (
            {"question": "Q", "options": ["x", "y"], "label": "A", "evidence": [{"id": "E1", "text": ""}]},
            "the text of evidence 1 is empty",
        ),
        (
            {
                "question": "Q",
                "options": ["x", "y"],
                "label": "A",
                "evidence": [{"id": "E1", "text": "a"}, {"id": "E1", "text": "b"}],
            },
            "two pieces of evidence have the id of evidence 2",
        ),
        ({"question": "Which?", "answer": "x", "id": ["i"]}, "'id' is not text but a list"),
        ({"question": "Which?", "answer": "x", "subject": "\udfff"}, "bad unicode in the field 'subject'"),
        ({**PUBMEDQA, "final_decision": "perhaps"}, "not yes, no or maybe"),
        ({**PUBMEDQA, "final_decision": None}, "the label is missing"),
        ({**PUBMEDQA, "QUESTION": ""}, "'QUESTION' is empty"),
        ({**PUBMEDQA, "CONTEXTS": "text"}, "'CONTEXTS' is not a list"),
        ({"question": "Q", "final_decision": "yes", "context": "text"}, "'context' is not an object"),
    ],
)
def test_a_bad_row_is_refused_with_the_reason(row: object, reason: str):
    with pytest.raises(RowError, match=reason):
        read_row(row)


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"question": "Which?", "options": ["x", "y"]}, "list of options"),
        ({"question": "Which?", "options": {"A": "x", "B": "y"}, "label": []}, "medxpertqa (hub)"),
        ({"question": f"Which? {MARKER} (A) x (B) y", "label": ""}, "choices in the question"),
        ({"question": "Which?", "opa": "w", "opb": "x", "opc": "y", "opd": "z", "cop": -1}, "medmcqa"),
        ({"question": "Which?", "answer": None}, "free text"),
        ({name: told for name, told in PUBMEDQA.items() if name != "final_decision"}, "pubmedqa"),
        ({"pubid": 7, "question": "Which?", "context": {"contexts": ["a"]}}, "pubmedqa (hub)"),
    ],
)
def test_a_row_without_a_label_is_a_question_only_where_that_is_allowed(row: dict[str, object], form: str):
    with pytest.raises(RowError, match=r"^the label is missing$"):
        read_row(row)
    question, found = read_row(row, unlabelled=True)
    assert (question.answer, question.has_gold, found) == ("", False, form)
    assert read_row(to_row(question), unlabelled=True)[0] == question


def test_a_row_with_neither_options_nor_the_field_for_an_answer_is_no_question_at_all():
    with pytest.raises(RowError, match="no options and no answer"):
        read_row({"question": "Which?"}, unlabelled=True)
    with pytest.raises(RowError, match="gold letter C is not among"):
        read_row({"question": "Which?", "options": ["x", "y"], "label": "C"}, unlabelled=True)


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).map(str.strip).filter(bool)
letters = st.lists(st.sampled_from("ABCDEFGHIJ"), min_size=2, unique=True)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    options = {letter: draw(words) for letter in draw(st.one_of(st.just([]), letters))}
    assume(len({tuple(text.split()) for text in options.values()}) == len(options))
    snippets = draw(st.dictionaries(words, st.tuples(words, st.just("") | words), max_size=3))
    return Question(
        id=draw(words),
        text=draw(words.filter(lambda text: MARKER not in text)),
        options=options,
        answer=draw(st.just("") | (st.sampled_from(list(options)) if options else words)),
        context=draw(st.one_of(st.just(""), words)),
        evidence=tuple(Snippet(name, *told) for name, told in snippets.items()),
        rationale=draw(st.one_of(st.just(""), words)),
        labels=draw(
            st.dictionaries(
                words.filter(lambda name: name not in {*RESERVED_FIELDS, "subject_name", "topic_name"}), words
            )
        ),
    )


@given(questions())
def test_a_question_comes_back_from_its_row(question: Question):
    back = read_row(json.loads(json.dumps(to_row(question))), unlabelled=True)[0]
    assert back == question
    assert list(back.options) == list(question.options)


def test_a_label_with_the_name_of_a_field_is_not_written():
    with pytest.raises(ValueError, match="'answer'"):
        to_row(Question(id="q", text="t", options={}, answer="a", labels={"answer": "x"}))
