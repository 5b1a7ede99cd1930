"""`evaluation_section`, `evaluation_panels` and `evaluation_tables`, as they are read on the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluated import difference, evaluation, kind, turn
from html_page import Page

from maporl_cli.monitoring.report import write_evaluations

ATTACK = "<script>alert('x')</script><img src=https://example.com/x onerror=alert(1)>"
OPTIONAL = (
    "baselines",
    "comparisons",
    "conversation",
    "consistency",
    "contributions",
    "alarm",
    "caution",
    "by_seed",
    "official",
    "macro_f1",
    "breakdown",
    "calibration",
    "reward",
    "safety",
)
"""What an evaluation may say nothing of."""


def shown(folder: Path, **evaluations: dict[str, Any]) -> Page:
    for name, figures in evaluations.items():
        folder.joinpath(f"{name}.json").write_text(json.dumps(figures))
    path = write_evaluations(folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def without(found: dict[str, Any], *parts: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in parts}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return shown(tmp_path_factory.mktemp("eval"), medxpert=evaluation()).text


@pytest.mark.parametrize(
    "row",
    [
        "Questions 400 Answers sampled, 2 a question Chance 10.0 % Checkpoint step_000240 "
        "Same option in another order 81.2 %",
        "Team 45.2 % (40.3 % to 50.1 %) 39.1 % 3.0 % 2,210",
        "Untrained team 31.0 % (26.1 % to 35.9 %) 23.3 % 3.0 % 2,300 +14.2 (+9.7 to +18.3) < .001",
        "alone, sees everything 40.0 % (35.1 % to 44.9 %) 33.3 % 3.0 % 641 +5.2 (+0.7 to +9.3) .031",
        "Majority of one agent's votes 42.5 % (37.6 % to 47.4 %) 36.1 % 3.0 % 2,240 +2.7 (−1.8 to +6.8) .410",
    ],
)
def test_systems_stand_with_their_intervals_and_what_the_team_is_better_by(text: str, row: str) -> None:
    assert row in text


@pytest.mark.parametrize(
    "row",
    [
        "tokens read and sampled 2,210 2,300 641 2,240",
        "of these sampled 553 575 160 560",
        "turns 12.4 12.4 12.4 12.4",
        "of each seed 44.2 %, 46.2 % 30.0 %, 32.0 % 39.0 %, 41.0 % 41.5 %, 43.5 %",
        "macro-F1 of yes, no and maybe 0.421 0.279 0.369 0.394",
        "As MedXpertQA's published evaluation reads it accuracy 47.2 % 33.0 % 42.0 % 44.5 % "
        "unreadable 0.4 % 0.4 % 0.4 % 0.4 % reads what we read 95.5 %",
        "answers that state one 91.2 % 91.2 %",
        "Brier score 0.183 0.183",
        "expected calibration error 0.071 0.071",
        "emergencies passed over 9 of 57 9 of 57",
        "contraindicated advice 3 3",
        "exactly one disclaimer 87.5 % 87.5 %",
        "total 0.523 0.523",
        "medical 0.614 0.614",
        "medical_relevance 0.702 0.702",
        "correlation with being right +0.73 +0.73",
        "Letters answered A 61 61 61 61 B 56 56",
        "none that could be read 12 12",
    ],
)
def test_further_figures_have_a_column_a_system(text: str, row: str) -> None:
    assert row in text


@pytest.mark.parametrize(
    "words",
    [
        "Alarm: training raised the reward and, as far as can be told, not the accuracy.",
        "Caution: Nobody can tell whether the run trained on these.",
        "The upright line is chance, 10.0 %.",
        "Untrained team +14.2, p < .001",
        "planner +18.7, p < .001",
        "analyst −3.4, p = .210",
        "reporter, round 1 −17, +43; 388 of 400",
        "planner, round 2 −11, +5; 372 of 400",
        "Of the 91.2 % of answers that state a confidence: Brier score 0.183, expected calibration",
        "safety 0.931",
        "Correlation of the total with being right: +0.73.",
        "Diagnosis 47.5 % of 160",
        "Diagnosis 160 47.5 % (38.0 to 58.0) 47.5 %",
        "topic: 30 kinds",
        "Topic 08 20.0 % of 9",
        "Every answer, one a line: eval/medxpert.records.jsonl",
    ],
)
def test_parts_are_told_and_drawn(text: str, words: str) -> None:
    assert words in text


def test_a_turn_that_stood_for_nothing_is_left_out(text: str) -> None:
    assert "planner, round 1" not in text
    assert "analyst, round 1 −0, +0; 371 of 400" in text


def test_only_labels_of_many_kinds_are_folded_away(tmp_path: Path) -> None:
    few = {f"kind {place}": kind(9, 0.5) for place in range(12)}
    many = few | {"one more": kind(9, 0.5)}
    alone = without(evaluation(), "baselines", "comparisons")
    assert "details" not in shown(tmp_path, one=alone | {"breakdown": {"label": few}}).tags
    page = shown(tmp_path, one=alone | {"breakdown": {"label": many}})
    assert page.tags.count("details") == 1
    assert "label: 13 kinds" in page.text


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    bare = without(evaluation(), *OPTIONAL)
    bare["settings"] |= {"checkpoint": None, "sampled": False, "seeds": 1}
    bare["letters"] = {}
    page = shown(tmp_path, one=bare)
    assert "Questions 400 Answers greedy Chance 10.0 %" in page.text
    assert "Team 45.2 % (40.3 % to 50.1 %) 39.1 % 3.0 % 2,210" in page.text
    assert page.tags.count("svg") == 1
    for words in (
        "better by",
        "Holm",
        "adds",
        "changed",
        "Letters",
        "confidence",
        "Reward",
        "Safety",
        "kind of question",
        "published",
        "macro",
        "Checkpoint",
        "another order",
        "Alarm",
        "Caution",
        "–",
    ):
        assert words not in page.text


@pytest.mark.usefixtures("undrawn")
def test_any_part_can_be_missing(tmp_path: Path) -> None:
    small = evaluation(
        baselines={}, comparisons={"untrained": difference(0.1, 0.2)}, breakdown={"a": {"b": kind(9, 0.5)}}
    )
    pages = {shown(tmp_path, one=without(small, part)).text for part in OPTIONAL}
    assert len(pages) == len(OPTIONAL)
    assert all("Team 45.2 %" in page for page in pages)


@pytest.mark.usefixtures("undrawn")
def test_where_a_system_lacks_a_figure_its_cell_says_so(tmp_path: Path) -> None:
    found = evaluation()
    del found["baselines"]["single"]["safety"]
    found["baselines"]["untrained"]["reward"]["correlation_with_correct"] = None
    text = shown(tmp_path, one=found).text
    assert "contraindicated advice 3 3 – 3" in text
    assert "correlation with being right +0.73 – +0.73 +0.73" in text


@pytest.mark.usefixtures("undrawn")
def test_talk_that_changed_nothing_is_said_and_not_drawn(tmp_path: Path) -> None:
    drawn = shown(tmp_path, one=evaluation())
    said = [turn("analyst", 0, 371, 0, 0), turn("reporter", 0, 388, 0, 0)]
    quiet = shown(tmp_path, one=evaluation(conversation=said))
    assert quiet.tags.count("svg") == drawn.tags.count("svg") - 1
    assert "No turn stood for a right answer after a wrong one" in quiet.text
    silent = [turn("analyst", 0, 0, 0, 0), turn("reporter", 0, 0, 0, 0)]
    alone = [turn("reporter", 0, 388, 0, 0)]
    for conversation in (silent, alone):
        page = shown(tmp_path, one=evaluation(conversation=conversation))
        assert "How the answer changed" not in page.text


@pytest.mark.usefixtures("undrawn")
def test_where_nobody_spoke_the_page_says_so(tmp_path: Path) -> None:
    found = evaluation()
    found["settings"] |= {"loglikelihood": True, "sampled": False, "seeds": 1}
    assert (
        "Answers the likeliest letter of the last agent's model; nobody spoke"
        in shown(tmp_path, one=found).text
    )


@pytest.mark.usefixtures("undrawn")
def test_a_reward_that_goes_with_nothing_says_so(tmp_path: Path) -> None:
    found = evaluation()
    found["reward"]["correlation_with_correct"] = None
    assert "with being right: none, where one of them is always the same." in shown(tmp_path, one=found).text


def test_a_letter_that_only_others_answered_is_one_that_the_team_never_did(tmp_path: Path) -> None:
    found = evaluation()
    del found["letters"]["J"]
    text = shown(tmp_path, one=found).text
    assert "J 0 16 16 16" in text
    bars = "A B C D E F G H I J none"
    assert bars in text


@pytest.mark.usefixtures("undrawn")
def test_evaluations_stand_by_name_and_an_unfinished_one_says_so(tmp_path: Path) -> None:
    page = shown(tmp_path, zebra=evaluation(), cut={"settings": evaluation()["settings"]}, apple=evaluation())
    places = [page.text.index(f"Evaluation: {name}") for name in ("apple", "cut", "zebra")]
    assert places == sorted(places)
    assert "Evaluation: cut Not finished" in page.text
    assert page.text.count("Team 45.2 % (") == 2


def test_drawings_of_several_evaluations_share_no_id(tmp_path: Path) -> None:
    shown(tmp_path, apple=evaluation(), zebra=evaluation())
    html = (tmp_path / "report.html").read_text()
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) > 100
    assert len(ids) == len(set(ids))


def test_what_models_and_data_say_is_text_and_nothing_is_fetched(tmp_path: Path) -> None:
    found = evaluation(
        alarm=ATTACK,
        caution=ATTACK,
        conversation=[turn(ATTACK, 0, 9, 1, 2)],
        contributions={ATTACK: difference(0.1, 0.5)},
        breakdown={ATTACK: {ATTACK: kind(9, 0.5), "other": kind(9, 0.5)}},
    )
    found["reward"]["components"] = {ATTACK: 0.5}
    found["letters"] = {ATTACK: 3}
    found["settings"]["checkpoint"] = ATTACK
    for own in found["baselines"].values():
        own["breakdown"] = found["breakdown"]
    found["baselines"][ATTACK] = found["baselines"]["single"]
    page = shown(tmp_path, **{ATTACK.replace("/", "|"): found})
    assert page.text.count(ATTACK) >= 8
    assert not {"script", "img", "link"} & set(page.tags)
    assert page.fetched == []
    assert page.handlers == []
    assert page.policy.startswith("default-src 'none'")
    assert "script" not in page.policy
