from __future__ import annotations

import json

import pytest

from maporl_cli.cli.output import Display, debugging, emit, say, shown
from maporl_cli.core.errors import UsageError


@pytest.mark.parametrize(
    ("asked", "environ", "terminal", "expected"),
    [
        (None, {}, True, "rich"),
        (None, {}, False, "plain"),
        (None, {"CI": "true"}, True, "plain"),
        (None, {"CI": ""}, True, "rich"),
        (None, {"TERM": "dumb"}, True, "plain"),
        (None, {"MAPORL_DISPLAY": "none"}, True, "none"),
        (None, {"MAPORL_DISPLAY": "rich", "CI": "true"}, False, "rich"),
        (None, {"MAPORL_DISPLAY": "auto"}, False, "plain"),
        (None, {"MAPORL_DISPLAY": ""}, True, "rich"),
        (Display.plain, {"MAPORL_DISPLAY": "none"}, True, "plain"),
        (Display.rich, {"CI": "true"}, False, "rich"),
        (Display.auto, {"MAPORL_DISPLAY": "none"}, True, "rich"),
        (Display.none, {}, True, "none"),
    ],
)
def test_the_flag_wins_then_the_environment_then_the_terminal(asked, environ, terminal, expected):
    assert shown(asked, environ, terminal=terminal) == expected


def test_an_unknown_display():
    with pytest.raises(UsageError, match=r"auto\|rich\|plain\|none"):
        shown(None, {"MAPORL_DISPLAY": "loud"}, terminal=True)


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False), (None, False)]
)
def test_debugging(value, expected):
    assert debugging({} if value is None else {"MAPORL_DEBUG": value}) is expected


def test_results_and_words_go_their_own_ways(capsys):
    emit({"event": "done", "what": "é"})
    say("hello")
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert json.loads(out) == {"event": "done", "what": "é"}
    assert err == "hello\n"


def test_json_says_all_and_does_nothing_to_a_terminal(capfd):
    event = {"report": "é\x1b[2J\x9b31m\u202e\x7f\ud800\n"}
    emit(event)
    (line,) = capfd.readouterr().out.splitlines()
    assert json.loads(line) == event
    assert line.isprintable()
    assert "é" in line
