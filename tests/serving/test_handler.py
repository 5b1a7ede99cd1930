"""The four functions, as SageMaker's toolkits call them."""

from __future__ import annotations

import json
import re

import pytest
from served_run import body, questions, row

from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.core.randomness import Greedy
from maporl_cli.core.types import Episode
from maporl_cli.rewards.risk import with_disclaimer
from maporl_cli.serving.handler import input_fn, model_fn, output_fn, predict_fn
from maporl_cli.worker import ask_team


def asked(*rows):
    return input_fn(body(list(rows)), "application/json")


def test_answers_are_those_of_the_team_that_maporl_ask_asks(run, team):
    own = questions(12)
    told = ask_team(run.load_config(), run=run.path, questions=own, display="none")  # from its checkpoint
    reports = [with_disclaimer(episode.turns[-1].text) for episode in told]
    assert len(set(reports)) == 12
    together = predict_fn(asked(*map(row, own)), team)
    assert [one["report"] for one in together] == reports
    assert [one["answer"] for one in together] == [episode.answer for episode in told]
    alone = [predict_fn(input_fn(body(row(one)), "application/json"), team) for one in own]
    assert alone == together


def test_token_for_token_alone_as_in_a_batch(team):
    def tokens(*episodes: Episode):
        team._session.team.play(episodes, Greedy())
        return [[turn.token_ids for turn in episode.turns] for episode in episodes]

    episodes = [Episode(question, 0, 0) for question in questions(6, 20)]
    alone = [tokens(Episode(question, 0, 0))[0] for question in questions(6, 20)]
    assert tokens(*episodes) == alone
    assert len({str(one) for one in alone}) == 6


def test_more_questions_than_travel_at_once_take_several_plays(team, monkeypatch):
    monkeypatch.setattr(team, "most", 2)
    before = team.graph_runs
    assert len(predict_fn(asked(*map(row, questions(5))), team)) == 5
    assert team.graph_runs - before == 3


def test_tiny_policies_refuse_words_that_they_do_not_know_and_do_not_repeat_them(team):
    with pytest.raises(DataError) as told:
        predict_fn(asked(row(questions(1)[0], question="task treatment aspirin?")), team)
    assert "word 3 of its question" in told.value.why
    assert "aspirin" not in told.value.message


def test_a_prompt_that_does_not_fit_is_the_fault_of_its_question(team):
    own = questions(1)[0]
    with pytest.raises(DataError, match="does not fit its model's context"):
        predict_fn(asked(row(own, question=" ".join([own.text] * 200))), team)


def test_json_does_nothing_to_a_terminal_or_a_page():
    told = {"id": "</script><!--&", "report": "\x1b[2J\x9b31m\u202e\u2028\x07\x7fé <img onerror=x>"}
    text = output_fn([told], "text/html")
    assert json.loads(text) == [told]
    assert re.fullmatch(r"[ -~]*", text)
    assert not set("<>&") & set(text)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ConfigError, match="no run"):
        model_fn(str(tmp_path))
