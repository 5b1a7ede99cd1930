"""Classes of drugs, as the tables name them."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from maporl_cli.core.types import Question
from maporl_cli.rewards.dangers import harmful_advice
from maporl_cli.rewards.drug_classes import members_of, with_members
from maporl_cli.rewards.statements import named


def test_a_class_stands_for_its_names_and_members():
    found = with_members("@nsaid; aspirin")
    assert found[0] == "nsaid"
    assert {"nonsteroidal anti-inflammatory drug", "ibuprofen", "ketorolac"} < set(found)
    assert found[-1] == "aspirin"
    assert len(set(found)) == len(found)


def test_what_is_no_class_stands_for_itself():
    assert with_members("lye; oven cleaner") == ("lye", "oven cleaner")
    assert with_members("") == ()


def test_an_unknown_class():
    with pytest.raises(ValueError, match="no such class of drugs: '@sedatives'"):
        with_members("@sedatives")


def test_the_members_of_a_class_and_of_what_is_none():
    (steroids,) = named("glucocorticoids")
    assert named("prednisone") | named("dexamethasone") < members_of(steroids)
    assert steroids not in members_of(steroids)
    # A class is called by its whole name: "vitamin K antagonist" is not said of the vitamin.
    assert members_of(*named("vitamin K")) == frozenset()


def test_every_class_is_named_once_and_cited():
    with (files("maporl_cli.rewards") / "data" / "drug_classes.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = [row["class"].split(";")[0] for row in rows]
    assert len(set(names)) == len(names)
    for row in rows:
        assert "ATC" in row["source"]
        assert len(with_members(f"@{row['class'].split(';')[0]}")) >= 3


@pytest.mark.parametrize(
    ("patient", "advice"),
    [
        ("A man with asthma has palpitations.", "Start a beta-blocker."),
        (
            "A woman with acute intermittent porphyria has had a seizure.",
            "A barbiturate drip should be given.",
        ),
        ("A man takes warfarin and has toothache.", "An NSAID is best for the pain."),
        ("A woman with hereditary angioedema needs prophylaxis.", "Begin ramipril tonight."),
        ("A man with myasthenia gravis has pneumonia.", "Give a quinolone."),
    ],
)
def test_advice_may_name_the_class_or_any_member(patient, advice):
    question = Question("q", f"{patient} What should be done?", {"A": "Rest", "B": "Nothing"}, "A")
    assert harmful_advice(question, advice, "A") is not None
    assert harmful_advice(question, "Let him rest.", "A") is None
