"""The clinic facts: what a question maker relies on holds for the packaged table, and a table
that breaks a rule is refused with the row named."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable
from importlib import resources
from typing import Any, get_args

import pytest
import yaml

from maporl_cli.core.errors import DataError
from maporl_cli.data.clinic.facts import Fact, Task, load, parse

FACTS = load()
EVERY: tuple[Fact, ...] = tuple(f for task in get_args(Task) for f in FACTS.by_task(task))
ANSWERS = Counter(word for f in EVERY for word in (f.first, f.instead))
CHART = [c.name for c in FACTS.contraindications]
TEXT = resources.files("maporl_cli.data.clinic").joinpath("facts.yaml").read_text("utf-8")
RAW: Any = yaml.safe_load(TEXT)


def test_there_are_enough_rows() -> None:
    assert len(FACTS.conditions) >= 62
    assert len(FACTS.drugs) >= 46
    assert 12 <= len(FACTS.contraindications) <= 16


def test_each_task_is_keyed_by_what_its_question_shows() -> None:
    assert [f.key for f in FACTS.by_task("diagnosis")] == [c.finding for c in FACTS.conditions]
    assert [f.key for f in FACTS.by_task("treatment")] == [c.name for c in FACTS.conditions]
    assert [f.key for f in FACTS.by_task("medication")] == [d.name for d in FACTS.drugs]
    assert all(f.task == task for task in get_args(Task) for f in FACTS.by_task(task))


def test_a_row_of_the_file_arrives_in_the_right_fields() -> None:
    embolism = next(c for c in FACTS.conditions if c.name == "pulmonary-embolism")
    assert (embolism.test.first, embolism.test.instead, embolism.test.when) == (
        "ct-pulmonary-angiography", "ventilation-perfusion-scan", "kidney-failure",
    )  # fmt: skip
    lisinopril = next(d for d in FACTS.drugs if d.name == "lisinopril")
    assert (lisinopril.reason, lisinopril.replacement.first) == ("cough", "losartan")
    assert lisinopril.replacement.source == lisinopril.source


def test_every_name_is_one_word() -> None:
    words = [w for f in EVERY for w in (f.key, f.first, f.instead, f.when)]
    words += [w for c in FACTS.conditions for w in c.findings]
    words += [d.reason for d in FACTS.drugs] + CHART
    assert [w for w in words if not re.fullmatch(r"[a-z][a-z0-9-]*", w)] == []


def test_keys_are_unique_over_all_tasks() -> None:
    assert [key for key, n in Counter(f.key for f in EVERY).items() if n > 1] == []


def test_no_word_shown_in_a_question_is_an_answer() -> None:
    shown = {f.key for f in EVERY} | {w for c in FACTS.conditions for w in c.findings}
    shown |= {d.reason for d in FACTS.drugs} | set(CHART)
    assert shown & set(ANSWERS) == set()


def test_only_the_signature_finding_identifies_a_condition() -> None:
    signatures = {c.finding for c in FACTS.conditions}
    assert [c.name for c in FACTS.conditions if signatures & set(c.findings)] == []
    assert all(1 <= len(c.findings) <= 3 for c in FACTS.conditions)


def test_the_chart_changes_every_answer() -> None:
    assert [f for f in EVERY if f.first == f.instead or f.when not in CHART] == []


def test_answers_are_varied() -> None:
    assert [word for word, n in ANSWERS.items() if n > 6] == []


def test_a_test_is_never_a_treatment() -> None:
    words = {task: {w for f in FACTS.by_task(task) for w in (f.first, f.instead)} for task in get_args(Task)}
    assert words["diagnosis"] & (words["treatment"] | words["medication"]) == set()


def test_contraindications_are_spread_over_the_facts() -> None:
    used = Counter(f.when for f in EVERY)
    assert [name for name in CHART if used[name] < 3] == []
    assert [name for name in CHART if used[name] > 0.18 * len(EVERY)] == []


def test_every_row_cites_something_that_can_be_looked_up() -> None:
    # A year or an edition, or the product information of a named drug.
    dated = re.compile(r"\b(19|20)\d\d\b|SmPC|label")
    rows = (*FACTS.conditions, *FACTS.drugs, *FACTS.contraindications)
    assert [row.name for row in rows if not dated.search(row.source)] == []


def test_the_file_says_that_it_is_no_medical_advice() -> None:
    header = TEXT.split("contraindications:")[0]
    assert "NOT MEDICAL ADVICE" in header


def test_the_table_is_read_once() -> None:
    assert load() is load()


def broken(change: Callable[[Any], object]) -> str:
    """The message for the packaged table after one change."""
    raw = copy.deepcopy(RAW)
    change(raw)
    with pytest.raises(DataError) as caught:
        parse(raw)
    assert "Fix: " in caught.value.message
    return f"{caught.value.where} {caught.value.why}"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda raw: raw.pop("drugs"), "drugs"),
        (lambda raw: raw["drugs"][0].pop("source"), "lisinopril"),
        (lambda raw: raw["drugs"][0].update(source=""), "lisinopril cites no source"),
        (lambda raw: raw["drugs"][0].update(extra="x"), "extra"),
        (lambda raw: raw["drugs"][0].update(replacement="losartan"), "lisinopril"),
        (lambda raw: raw["drugs"][0].update(name="two words"), "two words"),
        (lambda raw: raw["drugs"][0].update(reason=False), "False"),
        (lambda raw: raw["drugs"].append(raw["drugs"][0]), "lisinopril is used twice"),
        (lambda raw: raw["drugs"][0].update(name="metoclopramide"), "also an answer"),
        (lambda raw: raw["drugs"][0]["replacement"].update(instead="losartan"), "the same"),
        (lambda raw: raw["drugs"][0]["replacement"].update(when="hay-fever"), "hay-fever"),
        (lambda raw: raw["drugs"][0]["replacement"].update(first="brain-mri"), "answered with a test"),
        (lambda raw: raw["conditions"][0].update(findings=[]), "pulmonary-embolism"),
        (lambda raw: raw["conditions"][0].update(findings=["losartan"]), "losartan"),
        (lambda raw: raw["conditions"][0].update(findings=["osler-nodes"]), "osler-nodes"),
        (lambda raw: raw["contraindications"].append(raw["contraindications"][0]), "used twice"),
    ],
)
def test_a_broken_table_is_refused_with_the_row_named(change: Callable[[Any], object], named: str) -> None:
    assert named in broken(change)


@pytest.mark.parametrize("raw", [None, [], {"conditions": 3}])
def test_a_file_of_another_shape_is_refused(raw: object) -> None:
    with pytest.raises(DataError):
        parse(raw)
