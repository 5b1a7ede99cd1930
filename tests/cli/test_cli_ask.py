from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from maporl_cli.cli.ask import conversation, question, told
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.errors import UsageError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Episode, Turn


def turn(agent: str, text: str, round: int = 0) -> Turn:
    return Turn(agent, round, (), (), (), text, True, 0)


def test_a_question_letters_its_options_and_numbers_its_evidence():
    asked = question("Which?", ["first", "second"], "pregnant", ["a fact", "another"])
    assert dict(asked.options) == {"A": "first", "B": "second"}
    assert [(snippet.id, snippet.text) for snippet in asked.evidence] == [("e1", "a fact"), ("e2", "another")]
    assert (asked.text, asked.context, asked.answer) == ("Which?", "pregnant", "")


@pytest.mark.parametrize(("text", "options"), [("  ", []), ("Which?", ["one"]), ("Which?", ["x"] * 27)])
def test_no_question(text, options):
    with pytest.raises(UsageError):
        question(text, options, "", [])


def test_a_conversation_of_one_round():
    episode = Episode(question("Which?", ["yes", "no"], "", []), 0, 0, [turn("planner", "look")], "B")
    assert conversation(episode).splitlines() == [
        "planner: look Not medical advice.",
        "answer: B, no",
        "risk: low; it names no guideline and no evidence: look one up",
    ]


def test_a_conversation_of_two_rounds_without_an_answer():
    turns = [turn("planner", "look"), turn("planner", "again", 1)]
    episode = Episode(question("Which?", [], "", []), 0, 0, turns)
    assert conversation(episode).splitlines() == [
        "planner (round 1): look",
        "planner (round 2): again Not medical advice.",
        "answer: none that can be read",
        "risk: moderate; it gives no answer that can be read; "
        "it names no guideline and no evidence: look one up",
    ]
    assert told(episode) == {
        "answer": None,
        "report": "again Not medical advice.",
        "confidence": None,
        "risk": {
            "level": "moderate",
            "reasons": [
                "it gives no answer that can be read",
                "it names no guideline and no evidence: look one up",
            ],
        },
        "disclaimer": "Not medical advice.",
        "evidence": [],
        "turns": [
            {"agent": "planner", "round": 0, "text": "look"},
            {"agent": "planner", "round": 1, "text": "again"},
        ],
    }


def test_what_a_model_says_does_nothing_to_the_terminal():
    turns = [turn("planner", "look\x1b]0;title\x07\nhere\u202e"), turn("reporter", "\x1b[2Jyes (A) \x9b1m")]
    shown = conversation(Episode(question("Which?", ["yes\x1b[1A", "no"], "", []), 0, 0, turns, "A"))
    assert shown.splitlines()[:4] == [
        "planner: look\\x1b]0;title\\x07",
        "here\\u202e",
        "reporter: \\x1b[2Jyes (A) \\x9b1m Not medical advice.",
        "answer: A, yes\\x1b[1A",
    ]


@pytest.fixture
def ask(monkeypatch, capfd, tmp_path):
    calls = []

    def ask_team(config, *, run, questions, display):
        calls.append((config, run))
        return [Episode(questions[0], 0, 0, [turn("reporter", "yes")], "A")]

    worker = ModuleType("maporl_cli.worker")
    worker.ask_team = ask_team  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "maporl_cli.worker", worker)
    monkeypatch.chdir(tmp_path)

    def ask(*arguments):
        from maporl_cli.cli.main import main

        monkeypatch.setattr(sys, "argv", ["maporl", "ask", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capfd.readouterr(), calls)

    return ask


def test_what_a_user_reads_has_one_disclaimer_and_its_risk(ask):
    code, out, _, _ = ask("Which?", "--option", "yes", "--option", "no")
    assert code == 0
    assert out.splitlines()[:2] == ["reporter: yes Not medical advice.", "answer: A, yes"]
    assert out.count("medical advice") == 1
    assert "risk: low" in out


def test_json_alone_on_stdout(ask):
    _, out, _, _ = ask("Which?", "--json")
    assert json.loads(out)["answer"] == "A"


def test_a_run_brings_its_own_settings(ask):
    config = load_config(preset="smollm2", flags={"run.name": "demo"}).config
    run = RunDir.open_new(config)
    assert ask("Which?", "--run", str(run.path))[3] == [(config, run.path)]
    code, _, err, _ = ask("Which?", "--run", str(run.path), "--preset", "clinic")
    assert code == 2
    assert "its own settings" in err
    assert ask("Which?", "--run", "runs/demmo")[0] == 3
