"""Figures from records whose every number is known."""

from collections.abc import Sequence
from typing import Any

import pytest

from maporl_cli.evaluation.comparison import compared, paired, reward_alarm
from maporl_cli.evaluation.conversation import agreement, changes
from maporl_cli.evaluation.findings import findings
from maporl_cli.evaluation.statistics import bootstrap, macro_f1, mcnemar, wilson

OPTIONS = {"A": "aspirin", "B": "bed rest", "C": "codeine", "D": "digoxin"}


def row(place: int, answer: str | None = "A", gold: str = "A", seed: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": f"q{place}",
        "seed": seed,
        "gold": gold,
        "answer": answer,
        "valid": answer is not None,
        "correct": answer == gold,
        "options": OPTIONS,
        "labels": {},
        "confidence": None,
        "tokens": 10,
        "sampled": 4,
        "turns": [],
        **more,
    }


def answered(right: Sequence[bool], **more: Any) -> list[dict[str, Any]]:
    return [row(place, "A" if good else "B", **more) for place, good in enumerate(right)]


def test_what_one_answer_a_question_comes_to() -> None:
    found = findings([row(0), row(1, "B"), row(2, None), row(3, gold="D", answer="D")])
    assert (found["n"], found["correct"], found["invalid"]) == (4, 2, 1)
    assert found["accuracy"] == 0.5
    assert found["ci95"] == list(wilson(2, 4))
    assert (found["chance"], found["above_chance"]) == (0.25, pytest.approx(1 / 3))
    assert found["invalid_share"] == 0.25
    assert found["letters"] == {"": 1, "A": 1, "B": 1, "D": 1}
    assert (found["tokens_per_question"], found["sampled_per_question"]) == (10, 4)
    assert not {"by_seed", "official", "macro_f1", "breakdown", "calibration", "reward", "safety"} & set(
        found
    )


def test_several_answers_to_a_question_are_no_independent_evidence() -> None:
    rows = [row(place, "A" if place < 3 else "B", seed=seed) for seed in range(5) for place in range(6)]
    found = findings(rows)
    assert (found["n"], found["accuracy"], found["by_seed"]) == (6, 0.5, [0.5] * 5)
    assert found["ci95"] == list(bootstrap([1, 1, 1, 0, 0, 0], within=(0, 1), seed=0))
    low, high = wilson(15, 30)
    assert found["ci95"][1] - found["ci95"][0] > high - low


def test_free_text_is_compared_with_a_chance_of_nothing() -> None:
    found = findings([row(0, "aspirin", "aspirin", options={}), row(1, "x", "y", options={})])
    assert (found["chance"], found["above_chance"], found["letters"]) == (0, 0.5, {})


def test_the_published_reader_stands_beside_ours() -> None:
    found = findings([row(0, official="A"), row(1, None, official="A"), row(2, "B", official=None)])
    assert found["official"] == {
        "accuracy": pytest.approx(2 / 3),
        "invalid_share": pytest.approx(1 / 3),
        "agrees": pytest.approx(1 / 3),
    }


def test_yes_no_maybe_has_a_macro_f1() -> None:
    verdicts = {"A": "yes", "B": "no", "C": "maybe"}
    rows = [row(0, "A", "A"), row(1, "A", "B"), row(2, "C", "C")]
    # yes: 2/3 of a 1 and a 1/2; no: never told; maybe: told rightly.
    assert findings([one | {"options": verdicts} for one in rows])["macro_f1"] == pytest.approx(5 / 9)


def test_labels_that_tell_something_apart_are_broken_down_by() -> None:
    kinds = ["Treatment", "Treatment", "Diagnosis"]
    rows = [
        row(place, "B" if place else "A", labels={"medical_task": kind, "year": "2024"})
        for place, kind in enumerate(kinds)
    ]
    assert findings(rows)["breakdown"] == {
        "medical_task": {
            "Diagnosis": {"n": 1, "accuracy": 0, "ci95": list(wilson(0, 1))},
            "Treatment": {"n": 2, "accuracy": 0.5, "ci95": list(wilson(1, 2))},
        }
    }


def test_only_answers_with_a_confidence_are_calibrated() -> None:
    found = findings(
        [row(0, confidence=0.9), row(1, "B", confidence=0.7), row(2), row(3, None, confidence=1.0)]
    )
    assert found["calibration"]["stated"] == 0.5
    assert found["calibration"]["brier"] == pytest.approx((0.1**2 + 0.7**2) / 2)
    assert found["calibration"]["ece"] == pytest.approx((0.1 + 0.7) / 2)
    assert [one["n"] for one in found["calibration"]["bins"]] == [1, 1]


def score(total: float, **components: float) -> dict[str, Any]:
    return {"total": total, "medical": total, "components": components, "reasons": {}}


def test_the_reward_and_how_far_it_goes_with_being_right() -> None:
    rows = [
        row(0, score=score(1.0, accuracy=1.0, collaboration=0.5)),
        row(1, "B", score=score(0.0, accuracy=0.0)),
        row(2, "B", score=score(0.5, accuracy=0.0)),
    ]
    found = findings(rows)["reward"]
    assert (found["total"], found["medical"]) == (0.5, 0.5)
    assert found["components"] == {"accuracy": pytest.approx(1 / 3), "collaboration": 0.5}
    assert found["correlation_with_correct"] == pytest.approx(3**0.5 / 2)
    assert findings([row(0, score=score(1.0))])["reward"]["correlation_with_correct"] is None


def test_safety_is_counted() -> None:
    def told(flags: int, missed: int, harm: bool, disclaimers: int) -> dict[str, Any]:
        return {
            "red_flags": flags,
            "missed": missed,
            "contraindicated": harm,
            "disclaimers": disclaimers,
        }

    rows = [row(0, safety=told(2, 1, False, 1)), row(1, safety=told(0, 0, True, 3))]
    assert findings(rows)["safety"] == {
        "red_flags": 2,
        "red_flags_missed": 1,
        "contraindicated": 1,
        "one_disclaimer": 0.5,
    }


def test_a_planted_difference_comes_out_as_planted() -> None:
    team = answered([True] * 60 + [False] * 40)
    worse = answered([True] * 40 + [False] * 60)
    found = paired(team, worse)
    assert (found.n, found.better, found.worse) == (100, 20, 0)
    assert found.difference == pytest.approx(0.2)
    assert found.p == mcnemar(20, 0) < 1e-5
    assert 0.11 < found.ci95[0] < 0.15 < 0.25 < found.ci95[1] < 0.29


def test_no_difference_comes_out_as_none() -> None:
    found = paired(answered([True, False] * 20), answered([False, True] * 20))
    assert (found.difference, found.better, found.worse, found.p) == (0, 20, 20, 1)
    assert found.ci95[0] < 0 < found.ci95[1]


def test_only_common_questions_are_compared() -> None:
    assert paired(answered([True] * 5), answered([False] * 3)).n == 3
    with pytest.raises(ValueError, match="no question in common"):
        paired([row(0)], [row(1)])


def test_p_values_allow_for_the_number_of_baselines() -> None:
    team = answered([True] * 12 + [False] * 8)
    found = compared(
        team, {"a": answered([True] * 6 + [False] * 14), "b": answered([True] * 10 + [False] * 10)}
    )
    assert found["a"]["p"] == pytest.approx(2 / 2**6)
    assert found["a"]["p_holm"] == pytest.approx(4 / 2**6)
    assert found["b"]["p"] == found["b"]["p_holm"] == 0.5
    assert compared(team, {}) == {}


def said(*turns: tuple[int, str, str | None]) -> list[dict[str, Any]]:
    return [{"round": round, "agent": agent, "stance": stance, "text": ""} for round, agent, stance in turns]


def test_changes_of_the_answer_are_counted_where_they_happen() -> None:
    rows = [
        row(0, turns=said((0, "planner", None), (0, "analyst", "B"), (0, "reporter", "A"))),
        row(1, "C", turns=said((0, "planner", "A"), (0, "analyst", None), (0, "reporter", "C"))),
        row(
            2,
            turns=said((0, "analyst", "A"), (0, "reporter", "A"), (1, "analyst", "B"), (1, "reporter", "A")),
        ),
    ]
    found = {(one["round"], one["agent"]): one for one in changes(rows)}
    assert list(found) == [
        (0, "planner"),
        (0, "analyst"),
        (0, "reporter"),
        (1, "analyst"),
        (1, "reporter"),
    ]
    assert found[0, "reporter"] == {
        "round": 0,
        "agent": "reporter",
        "turns": 3,
        "stances": 3,
        "wrong_to_right": 1,
        "right_to_wrong": 1,
    }
    assert (found[1, "analyst"]["right_to_wrong"], found[1, "reporter"]["wrong_to_right"]) == (1, 1)
    assert (found[0, "planner"]["stances"], found[0, "planner"]["turns"]) == (1, 2)


def test_a_report_that_cannot_be_read_stands_for_nothing() -> None:
    (planner, reporter) = changes([row(0, None, turns=said((0, "planner", "B"), (0, "reporter", "A")))])
    assert (planner["stances"], reporter["stances"], reporter["wrong_to_right"]) == (1, 0, 0)


def test_the_same_option_under_another_letter_is_the_same_answer() -> None:
    turned = {"A": "digoxin", "B": "codeine", "C": "bed rest", "D": "aspirin"}
    rows = [row(0, "A"), row(1, "A"), row(2, None)]
    shuffled = [row(0, "D", "D"), row(1, "A", "D"), row(2, None, "D")]
    assert agreement(rows, [one | {"options": turned} for one in shuffled]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("rewards", "right", "alarmed"),
    [
        ((0.2, 0.6), (0, 0), True),  # the reward rose, the accuracy did not
        ((0.2, 0.6), (0, 40), False),  # both rose
        ((0.4, 0.4), (0, 0), False),  # neither
        ((0.4, 0.4), (0, 40), False),  # only the accuracy
    ],
)
def test_the_alarm(rewards: tuple[float, float], right: tuple[int, int], alarmed: bool) -> None:
    before, after = (
        answered([place < good for place in range(80)], score=score(total))
        for total, good in zip(rewards, right, strict=True)
    )
    told = reward_alarm(after, before)
    assert bool(told) is alarmed
    if alarmed:
        assert "the reward by 0.400 [0.337, 0.427]" in told, "as many as 4.5 % of questions may differ unseen"
        assert "the accuracy by 0.000" in told


def test_a_breakdown_counts_questions_and_no_seeds() -> None:
    rows = [row(place, "A" if place < 3 else "B", seed=seed) for seed in range(5) for place in range(6)]
    for one in rows:
        one["labels"] = {"subject": "even" if one["id"] in ("q0", "q2", "q4") else "odd"}
    kind = findings(rows)["breakdown"]["subject"]["even"]
    assert kind["n"] == 3
    assert kind["accuracy"] == pytest.approx(2 / 3)
    assert kind["ci95"] == list(bootstrap([1, 1, 0], within=(0, 1), seed=0))


def test_macro_f1_is_of_words_whatever_letters_stand_for_them() -> None:
    rows = [row(place, answer) for place, answer in enumerate("AABB")]
    for place, one in enumerate(rows):
        letters = ("yes", "no") if place % 2 else ("no", "yes")
        one["options"] = dict(zip("AB", letters, strict=True))
        one["gold"] = next(letter for letter, text in one["options"].items() if text == "yes")
    # Always yes; said: no, yes, yes, no. F1 of yes: 2 · 2 / (2 · 2 + 0 + 2); nobody should have said no.
    assert findings(rows)["macro_f1"] == pytest.approx(macro_f1(["yes"] * 4, ["no", "yes", "yes", "no"]))


def test_questions_without_options_stand_in_no_order() -> None:
    open_ended = [row(0, "rest") | {"options": {}}, row(1, "A")]
    assert agreement(open_ended, open_ended) == 1
    assert agreement(open_ended[:1], open_ended[:1]) is None


def test_without_a_reward_there_is_no_alarm() -> None:
    assert reward_alarm(answered([True]), answered([False])) == ""
