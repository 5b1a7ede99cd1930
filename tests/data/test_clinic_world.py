"""The built-in benchmark: what it hides from whom, and that its evaluation is never trained on."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from maporl_cli.agents.clinic_roles import CLINIC
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.tiny import tiny_tokenizer
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Turn
from maporl_cli.data.clinic.cases import CURRENT, LETTERS, SUPERSEDED, TASKS, recommended
from maporl_cli.data.clinic.facts import load
from maporl_cli.data.clinic.world import (
    EVALUATION_QUESTIONS,
    TRAINING_QUESTIONS,
    benchmark,
    cases,
    evaluation_cases,
    solve,
    split_facts,
)


def drawn(part: str, count: int, seed: int = 0):
    asked, _ = split_facts(seed)
    if part == "eval":
        return [case for _, case in islice(evaluation_cases(seed), count)]
    return [case for _, case in cases(seed, part, asked, asked, count)]


def test_evaluation_asks_only_about_facts_that_training_never_shows():
    shown = {
        (task, key)
        for case in drawn("train", TRAINING_QUESTIONS)
        for task, key in zip(TASKS, case.keys, strict=True)
    }
    asked = {(TASKS[case.task], case.keys[case.task]) for case in drawn("eval", EVALUATION_QUESTIONS)}
    assert len(shown) > 100
    assert len(asked) > 30
    assert not shown & asked


def test_every_fact_is_on_one_side():
    asked, held_out = split_facts(3)
    for task, ours, theirs in zip(TASKS, asked, held_out, strict=True):
        everything = sorted(fact.key for fact in load().by_task(task))
        assert sorted(fact.key for fact in (*ours, *theirs)) == everything
        assert len(theirs) == round(0.2 * len(load().by_task(task)))


def test_a_seed_is_a_world():
    first, again, other = ([q.text for q in islice(benchmark.train(seed), 50)] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_thousands_of_distinct_questions_with_unique_ids():
    questions = list(benchmark.train(0))
    assert len(questions) >= 4000
    assert len({question.id for question in questions}) == len(questions)
    assert len({repr((q.text, q.options, q.context, q.evidence)) for q in questions}) == len(questions)


def test_a_perfect_team_is_always_right_and_the_bounds_say_so():
    assert all(solve(case) == case.gold for case in drawn("eval", 200))
    bounds = benchmark.bounds(0)
    assert bounds["perfect_team"] == 1.0
    assert bounds["chance"] == pytest.approx(0.2)
    assert 0.25 < bounds["best_without_evidence"] < 0.30


def test_the_options_alone_tell_only_that_superseded_entries_are_wrong():
    """Whatever an option looks like beside the others, a current entry is right equally often."""
    lone, paired = Counter(), Counter()
    for case in drawn("train", 4000):
        doubled = Counter(option.treatment for option in case.options)
        assert case.options[case.gold].year in CURRENT
        for place, option in enumerate(case.options):
            if option.year in CURRENT:
                stale = sum(other.year in SUPERSEDED for other in case.options)
                count = paired if doubled[option.treatment] > 1 else lone
                count[stale, place == case.gold] += 1
    for stale, share in ((1, 1 / 4), (2, 1 / 3)):
        for count in (lone, paired):
            right, wrong = count[stale, True], count[stale, False]
            assert right / (right + wrong) == pytest.approx(share, abs=0.04)


def test_the_kind_of_an_option_does_not_give_it_away():
    """Every option is something that the asked task recommends for some key."""
    for case in drawn("train", 1000):
        assert {option.treatment for option in case.options} <= set(recommended()[case.task])


def test_letters_are_right_equally_often():
    letters = Counter(LETTERS[case.gold] for case in drawn("train", 2000))
    assert all(count / 2000 == pytest.approx(0.2, abs=0.04) for count in letters.values())


@pytest.mark.parametrize("role", ["planner", "researcher", "analyst", "reporter", "single"])
def test_demonstrations_have_the_roles_form_and_known_words(role):
    generator = keyed_generator("test", role)
    tokenizer = tiny_tokenizer(benchmark.vocabulary())
    for _ in range(50):
        shown = benchmark.demonstration(role, generator)
        assert CLINIC.role(role).has_form(shown.reply)
        heard = [Turn(agent, 0, (), (), (), text, True, 0) for agent, text in shown.heard]
        prompt = render_prompt(CLINIC, CLINIC.role(role), shown.question, shown.question.evidence, heard)
        assert tokenizer.unk_token_id not in tokenizer(f"{prompt} {shown.reply}").input_ids


def test_the_book_writes_reports_in_their_form():
    for case in drawn("train", 20):
        question = case.question("q")
        for letter in question.options:
            report = CLINIC.write(question, letter)
            assert CLINIC.role("reporter").has_form(report)
            assert CLINIC.read(question, report) == letter


def test_demonstrations_are_uninformed():
    """Each role's own part is a coin: the field one in three, the rest one in two."""
    generator = keyed_generator("uninformed")
    field = edition = branch = entry = 0
    editions = branches = entries = 0
    for _ in range(1500):
        plan = benchmark.demonstration("planner", generator)
        task = plan.question.text.split()[1]
        field += (
            plan.reply.split()[2] == dict(zip(TASKS, ("complaint", "history", "takes"), strict=True))[task]
        )
        note = benchmark.demonstration("researcher", generator)
        key = note.reply.split()[1]
        if sum(snippet.text.split()[0] == key for snippet in note.question.evidence) == 2:
            editions += 1
            edition += note.reply.split()[2] in CURRENT
        analysis = benchmark.demonstration("analyst", generator)
        cited = dict(analysis.heard)["researcher"].split()
        branches += 1
        _, status, _, choice = analysis.reply.split()
        branch += choice == (cited[6] if status == "yes" else cited[4])
        report = benchmark.demonstration("reporter", generator)
        treatment, year = report.reply.split()[1:3]
        offered = [text.split()[0] for text in report.question.options.values()]
        if offered.count(treatment) == 2:
            entries += 1
            entry += year in CURRENT
    assert field / 1500 == pytest.approx(1 / 3, abs=0.05)
    for hits, tries in ((edition, editions), (branch, branches), (entry, entries)):
        assert tries > 200
        assert hits / tries == pytest.approx(0.5, abs=0.08)
