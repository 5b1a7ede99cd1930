"""Which bodies are requests, and what is said of the others."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_run import body, questions, row

from maporl_cli.core.errors import DataError
from maporl_cli.serving import requests
from maporl_cli.serving.refusals import TooLarge, refusal, status_of
from maporl_cli.serving.requests import BODY, CHARACTERS, DEPTH, JSON, ROWS, read_request

ROW = {"id": "1", "question": "Which?", "options": {"A": "this", "B": "that"}}


def read(value: object):
    return read_request(body(value), JSON)


def refused(value: object, content_type: str | None = JSON) -> DataError:
    with pytest.raises(DataError) as told:
        read_request(value if isinstance(value, bytes) else body(value), content_type)
    return told.value


def test_a_row_or_a_list_of_rows():
    alone, several = read(ROW), read([ROW, ROW])
    assert (len(alone.questions), alone.ids, alone.is_list) == (1, ("1",), False)
    assert (len(several.questions), several.ids, several.is_list) == (2, ("1", "1"), True)
    assert not read([ROW]).questions[0].has_gold
    assert read([ROW]).is_list
    assert dict(alone.questions[0].options) == {"A": "this", "B": "that"}


def test_every_published_shape_is_read_with_or_without_its_gold_answer():
    marked = {"question": "Which? Answer Choices: (A) this (B) that", "label": "B"}
    listed = {"question": "Which?", "choices": ["this", "that"]}
    pubmed = {"QUESTION": "Is it?", "CONTEXTS": ["One.", "Two."], "pubid": 7}
    hub = {"question": "Which?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": -1}
    assert [len(one.options) for one in read([marked, listed, pubmed, hub]).questions] == [2, 2, 3, 4]
    assert [snippet.id for snippet in read(pubmed).questions[0].evidence] == ["E1", "E2"]
    own = questions(1)[0]
    found = read(row(own)).questions[0]
    assert (found.text, found.options, found.context) == (own.text, own.options, own.context)
    assert (found.evidence, found.answer) == (own.evidence, "")


def test_a_question_without_options_is_asked_for_words():
    found = read({"question": "Which drug?"}).questions[0]
    assert (found.options, found.answer) == ({}, "")


@pytest.mark.parametrize("sent", ["7", 7, " a ", -3, "<b>\x1b[31m", "é\u202e"])
def test_an_id_is_echoed_as_it_was_sent(sent):
    found = read({**ROW, "id": sent})
    assert found.ids == (sent,)
    assert found.questions[0].id.isprintable()  # by which errors name it


@pytest.mark.parametrize("sent", [None, "", "  "])
def test_a_row_without_an_id_gets_one_that_is_made_of_its_content(sent):
    found = read([{**ROW, "id": sent}, {name: value for name, value in ROW.items() if name != "id"}])
    assert found.ids[0] == found.ids[1] == found.questions[0].id
    assert str(found.ids[0]).startswith("q-")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_by_any_of_its_names(kind):
    assert read_request(body(ROW), kind).ids == read_request(json.dumps(ROW), kind).ids == ("1",)


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/csv", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "é\x1b"],
)
def test_another_content_type_is_refused(kind):
    told = refused(ROW, kind)
    assert status_of(told) == 400
    assert "Content-Type: application/json" in told.fix
    assert "\x1b" not in told.message


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "it is not JSON"),
        (b'{"question": "Which?"', "it is not JSON"),
        (b'{"question": "a"} x', "it is not JSON"),
        (b'{"question": "\xff"}', "byte 15 is not UTF-8"),
        (json.dumps(ROW).encode("utf-16"), "is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "a number in it is too long"),
        (b'{"question": "a", "question": "b"}', "two fields of the same name"),
        ([], "the list is empty"),
        (3, "not an object but a number"),
        ([ROW, "x"], "not an object but text"),
        (b'{"question": "Which?", "age": NaN}', "not finite"),
        (b'{"question": "Which?", "age": 1e999}', "not finite"),
        ({**ROW, "x": [[[[[[[["deep"]]]]]]]]}, "nested too deeply"),
        ({"options": {"A": "a", "B": "b"}}, "'question' is missing"),
        ({**ROW, "question": 5}, "'question' is not text"),
        ({**ROW, "question": "\ud800"}, "half of a surrogate pair"),
        ({**ROW, "options": {"A": "a"}}, "only one option"),
        ({**ROW, "options": {"A": "a", "b": "b", "B": "c"}}, "two options are B"),
        ({**ROW, "options": 4}, "neither a list nor an object"),
        ({**ROW, "evidence": "x"}, "'evidence' is not a list"),
        ({**ROW, "evidence": [{"id": "e", "text": "a"}, {"id": "e", "text": "b"}]}, "two pieces of evidence"),
        ({**ROW, "id": 1.5}, "'id' is not text"),
        ({**ROW, "id": True}, "'id' is not text"),
        ({**ROW, "context": ["x"]}, "'context' is not text"),
    ],
)
def test_what_is_no_question_is_refused_with_the_reason(sent, why):
    told = refused(sent)
    assert status_of(told) == 400
    assert why in told.why
    assert '{"id": "1"' in told.fix
    assert refusal(told)["error"].keys() <= {"what", "where", "why", "fix"}


def test_a_reason_names_the_question_of_a_list():
    assert refused([ROW, {**ROW, "id": "b\x1b[2J" + "x" * 99, "options": 1}]).where == (
        "question 2, id b\\x1b[2J" + "x" * 52
    )


def test_too_much_of_anything_is_413():
    long = "x" * (CHARACTERS + 1)
    for sent in ({**ROW, "context": long}, {**ROW, long: 1}, [ROW] * (ROWS + 1), b" " * BODY + b"{}"):
        told = refused(sent)
        assert isinstance(told, TooLarge)
        assert status_of(told) == 413
        assert any(character.isdigit() for character in told.why)
    assert read([ROW] * ROWS).is_list
    assert read({**ROW, "context": "x" * (CHARACTERS - 100)}).questions


def test_an_object_with_many_fields_is_not_looked_through_for_each_of_them():
    many = ", ".join(f'"{n}": 1' for n in range(80_000))
    began = time.monotonic()
    assert "two fields" in refused(f'{{{many}, "79999": 2}}'.encode()).why
    assert time.monotonic() - began < 10


def test_the_limit_of_depth_is_where_it_is_said_to_be():
    def nested(depth: int) -> object:
        return [nested(depth - 1)] if depth else "x"

    assert read({**ROW, "x": nested(DEPTH - 1)}).questions
    assert "nested too deeply" in refused({**ROW, "x": nested(DEPTH)}).why


WORDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40).filter(str.strip)
KNOWN = st.fixed_dictionaries(
    {"question": WORDS.filter(lambda text: "Answer Choices:" not in text)},
    optional={
        "id": WORDS | st.integers(-(10**9), 10**9),
        "options": st.lists(WORDS, min_size=2, max_size=26),
        "context": WORDS,
        "evidence": st.lists(
            st.fixed_dictionaries({"id": WORDS, "text": WORDS}),
            max_size=5,
            unique_by=lambda one: one["id"].strip(),
        ),
        "medical_task": WORDS | st.none() | st.integers(),
        "age": st.floats(allow_nan=False, allow_infinity=False),
    },
)


@given(st.lists(KNOWN, min_size=1, max_size=4))
def test_every_question_row_is_read(rows):
    found = read(rows)
    assert len(found.questions) == len(rows)
    for one, sent, name in zip(found.questions, rows, found.ids, strict=True):
        assert one.text == sent["question"].strip()
        assert list(one.options.values()) == [text.strip() for text in sent.get("options", [])]
        assert name == sent.get("id", one.id)


def test_no_constant_is_a_limit_that_another_one_makes_useless():
    assert ROWS * 200 < BODY
    assert requests.CHARACTERS < BODY
