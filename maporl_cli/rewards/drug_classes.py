"""Classes of drugs: what a table says of "@nsaid" holds for each of its names and members.

`data/drug_classes.tsv` has them after the WHO's anatomical therapeutic chemical classification (ATC), with
the code on every row: the names of the class, and the members that vignettes and reports mention.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.sentences import words_of
from maporl_cli.rewards.statements import named

_CLASS = "@"


@cache
def _table() -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Of every class its names and its members."""
    with (files("maporl_cli.rewards") / "data" / "drug_classes.tsv").open(encoding="utf-8") as file:
        return tuple(
            (_parts(row["class"]), _parts(row["members"])) for row in csv.DictReader(file, delimiter="\t")
        )


@cache
def _classes() -> dict[str, tuple[str, ...]]:
    """The first name of every class, and all that it stands for: its names and its members."""
    return {names[0]: (*names, *members) for names, members in _table()}


@cache
def _members() -> dict[Concept, frozenset[Concept]]:
    found: dict[Concept, frozenset[Concept]] = {}
    for names, members in _table():
        drugs = frozenset[Concept]().union(*map(named, members))
        for words in map(words_of, names):
            # Not the vitamin K that a "vitamin K antagonist" has in its name.
            for mention in mentions(words):
                if mention.end - mention.start == len(words):
                    known = found.get(mention.concept, frozenset[Concept]())
                    found[mention.concept] = known | drugs - {mention.concept}
    return found


def members_of(concept: Concept) -> frozenset[Concept]:
    """The drugs of a class; none where the concept is no class that the table has."""
    return _members().get(concept, frozenset())


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";") if part.strip())


def with_members(cell: str) -> tuple[str, ...]:
    """The parts of a table's cell, a class ("@nsaid") by its names and members.

    Raises:
        ValueError: there is no such class.
    """
    found: dict[str, None] = {}
    for part in _parts(cell):
        if not part.startswith(_CLASS):
            found[part] = None
        elif part.removeprefix(_CLASS) in _classes():
            found |= dict.fromkeys(_classes()[part.removeprefix(_CLASS)])
        else:
            raise ValueError(f"no such class of drugs: {part!r}")
    return tuple(found)
