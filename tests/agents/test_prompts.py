"""The layout of prompts, and that no role sees what is not its own."""

import re
from dataclasses import replace

import pytest
from support import turn

from maporl_cli.agents.clinic_roles import CLINIC
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.roles import BRIEF, GUIDE, Role, RoleBook, register_role, register_role_book, role_book
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Question, Snippet

ASKED = Question(
    id="q1",
    text="STEM",
    options={"A": "FIRST", "B": "SECOND"},
    answer="B",
    context="CHART",
    evidence=(Snippet("e1", "FACT"), Snippet("e2", "OTHER")),
    rationale="RATIONALE",
    labels={"subject": "LABEL"},
)
MARKS = {
    "question": ["STEM"],
    "context": ["CHART"],
    "evidence": ["FACT", "OTHER", "e1"],
    "options": ["FIRST", "SECOND"],
}
BOOK = RoleBook(
    name="toy",
    roles={
        "all": Role("all", ("options", "question", "evidence", "context"), "GO"),
        "deaf": Role("deaf", (), "GO"),
        "mute": Role("mute", ("question",), ""),
    },
    sections={"question": "Q {}", "context": "C {}", "evidence": "E {}", "options": "O {}"},
    separator=" / ",
)


def prompt(name, asked=ASKED, turns=(), snippets=ASKED.evidence, book=BOOK):
    return render_prompt(book, book.role(name), asked, snippets, turns)


def test_view_in_the_roles_order_then_turns_then_instruction():
    heard = [turn("planner", text="plan"), turn("analyst", text="idea", round=1)]
    assert prompt("all", turns=heard) == (
        "O (A) FIRST / (B) SECOND / Q STEM / E [e1] FACT / [e2] OTHER / C CHART"
        " / planner: plan / analyst: idea / GO"
    )


def test_what_the_question_does_not_have_is_left_out():
    bare = replace(ASKED, context="", evidence=(), options={})
    assert prompt("all", bare, snippets=()) == "Q STEM / GO"
    assert prompt("deaf") == "GO"
    assert prompt("mute") == "Q STEM"


def test_the_snippets_shown_are_those_retrieved_not_the_whole_pool():
    assert "E [e2] OTHER" in prompt("all", snippets=ASKED.evidence[1:])
    assert "FACT" not in prompt("all", snippets=ASKED.evidence[1:])


def test_braces_in_data_are_text():
    odd = replace(ASKED, text="{0} {x} {}", options={"A": "{letter}"})
    assert prompt("all", odd, [turn(text="{agent}")], snippets=()).startswith(
        "O (A) {letter} / Q {0} {x} {} /"
    )


@pytest.mark.parametrize("name", list(GUIDE.roles))
def test_a_guide_role_sees_its_own_sections_and_nothing_else(name):
    shown = prompt(name, book=GUIDE)
    for section, marks in MARKS.items():
        for mark in marks:
            assert (mark in shown) == (section in GUIDE.role(name).sees), (section, mark)
    assert "RATIONALE" not in shown
    assert "LABEL" not in shown


def test_who_may_see_what_in_the_guides_team():
    assert {name: set(role.sees) for name, role in GUIDE.roles.items() if name in MARKS_OF} == MARKS_OF


MARKS_OF = {
    "planner": {"question"},
    "researcher": {"question", "evidence"},
    "analyst": {"question", "context", "options"},
    "reporter": {"question", "options"},
    "single": {"question", "context", "evidence", "options"},
}


def test_a_shared_prefix_comes_first():
    """Prompts of one agent on one question agree up to what teammates said."""
    one, other = (prompt("all", turns=[turn(text=text)]) for text in ("alpha", "beta"))
    assert one.split("alpha")[0] == other.split("beta")[0]
    assert one.split("alpha")[0].startswith(prompt("all").removesuffix("GO"))


def test_forms_match_whole_turns():
    role = Role("r", (), "", re.compile(r"w\d"))
    assert role.has_form("w1")
    assert not role.has_form("w1 and more")
    assert not role.has_form("the w1")
    assert Role("r", (), "").has_form("anything")


def test_an_unknown_role_or_book_is_named_with_what_there_is():
    with pytest.raises(ConfigError, match="no role for the agent 'nobody'") as told:
        GUIDE.role("nobody")
    assert "planner" in told.value.why
    with pytest.raises(ConfigError, match="no role book 'nowhere'") as told:
        role_book("nowhere")
    assert "guide" in told.value.why


def test_books_and_roles_are_registered():
    mine = RoleBook(name="mine_for_a_test", roles={}, sections={})
    register_role_book(mine)
    register_role(Role("critic", ("question",), "Criticise."), book=mine.name)
    assert role_book(mine.name).role("critic").instruction == "Criticise."


@pytest.mark.parametrize("book", [GUIDE, BRIEF, CLINIC], ids=lambda book: book.name)
@pytest.mark.parametrize("letter", ["A", "B"])
def test_what_a_book_writes_it_reads(book, letter):
    assert book.read(ASKED, book.write(ASKED, letter)) == letter


@pytest.mark.parametrize("name", ["guide", "brief"])
def test_a_question_without_options_is_not_asked_for_a_letter(name):
    book = role_book(name)
    for role in (book.role("reporter"), book.role("single")):
        free = replace(ASKED, options={}, answer="iron")
        assert "letter" in render_prompt(book, role, ASKED, (), ())
        assert "letter" not in render_prompt(book, role, free, (), ())
