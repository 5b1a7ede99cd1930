"""`maporl reward`: rows in order, bad rows named, and the reason for each zero."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from maporl_cli.rewards.similarity import PACKAGED

GOOD = {
    "id": "one",
    "question": "A pregnant woman has hypertension. Which drug is best?",
    "options": {"A": "Lisinopril", "B": "Nifedipine"},
    "answer": "B",
    "turns": [{"agent": "reporter", "round": 0, "text": "Nifedipine is safe in pregnancy. Answer: B (90%)."}],
}
WITHOUT = {key: value for key, value in GOOD.items() if key != "answer"}


@pytest.fixture
def reward(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)

    def reward(*words: str) -> tuple[int, str, str]:
        from maporl_cli.cli.main import main

        monkeypatch.setattr(sys, "argv", ["maporl", "reward", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return reward


def write(*rows: object) -> str:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    Path("rows.jsonl").write_text(text, encoding="utf-8")
    return "rows.jsonl"


PLAIN = ("--set", "reward.similarity_model=null")


def test_a_line_a_row_in_order(reward):
    veto = GOOD | {
        "id": "two",
        "turns": [{"agent": "reporter", "round": 0, "text": "Start lisinopril. Answer: A"}],
    }
    code, out, _ = reward(
        write(GOOD, veto, {key: GOOD[key] for key in GOOD if key != "id"}), "--json", *PLAIN
    )
    first, second, third = map(json.loads, out.splitlines())
    assert code == 0
    assert (first["id"], second["id"], third["id"]) == ("one", "two", "rows-3")
    assert set(first) >= {"id", "total", "medical", "components", "reasons"}
    assert first["total"] == pytest.approx(0.5 + 0.5 * first["medical"])
    assert third["total"] == first["total"]
    assert second["total"] == 0.0
    assert "ace inhibitor" in second["reasons"]["veto"]
    assert second["components"]["accuracy"] == 0.0
    assert "gold answer" in second["reasons"]["accuracy"]


def test_people_get_a_table_with_reasons(reward):
    code, out, _ = reward(write(GOOD), *PLAIN)
    assert code == 0
    for word in ("one: total", "accuracy", "medical_relevance", "safety", "clinical_reasoning", "1.00"):
        assert word in out


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        (WITHOUT, "no text 'answer'"),
        (GOOD | {"answer": "E"}, "none of its options"),
        (GOOD | {"turns": "x"}, "no list 'turns'"),
        (GOOD | {"turns": [{"agent": "wizard", "round": 0, "text": "x"}]}, "unknown agent 'wizard'"),
        (GOOD | {"turns": [{"agent": "planner", "round": -1, "text": "x"}]}, "the round of turn 1"),
        (GOOD | {"turns": [{"agent": "planner", "round": 0}]}, "turn 1 has no text"),
        (GOOD | {"evidence": [{"id": "e1"}]}, "a snippet"),
        (GOOD | {"options": ["a"]}, "its options"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_scored(row, why, reward):
    code, out, err = reward(write(GOOD, row, GOOD), "--json", *PLAIN)
    assert code == 3
    assert len(out.splitlines()) == 2
    assert "rows.jsonl, line 2" in err
    assert why in err
    assert err.splitlines()[-1].startswith("Fix: ")


def test_a_file_that_is_not_there(reward):
    code, out, err = reward("absent.jsonl", "--json", *PLAIN)
    assert (code, out) == (3, "")
    assert "absent.jsonl" in err


def test_a_missing_encoder_is_an_error_and_no_fallback(reward, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = reward(write(GOOD), "--json", "--set", "reward.similarity_model=nobody/nothing")
    assert (code, out) == (4, "")
    assert f"--set reward.similarity_model={PACKAGED}" in err.splitlines()[-1]


def test_the_encoder_that_the_config_names(reward):
    code, out, _ = reward(write(GOOD), "--json", "--set", f"reward.similarity_model={PACKAGED}")
    assert code == 0
    assert 0.8 < json.loads(out)["components"]["accuracy"] < 1.0


def test_weights_are_the_configs(reward):
    sets = ("--set", "reward.weights.accuracy=0", *PLAIN)
    _, out, _ = reward(write(GOOD), "--json", *sets)
    assert "accuracy" not in json.loads(out)["components"]
