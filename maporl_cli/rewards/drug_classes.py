"""Classes of drugs: what a table says of "@nsaid" holds for each of its names and members.

`data/drug_classes.tsv` has them after the WHO's anatomical therapeutic chemical classification (ATC), with
the code on every row: the names of the class, and the members that vignettes and reports mention.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

_CLASS = "@"


@cache
def _classes() -> dict[str, tuple[str, ...]]:
    """The first name of every class, and all that it stands for: its names and its members."""
    with (files("maporl_cli.rewards") / "data" / "drug_classes.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {_parts(row["class"])[0]: _parts(f"{row['class']};{row['members']}") for row in rows}


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
