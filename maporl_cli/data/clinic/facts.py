"""The medical facts behind the built-in clinic benchmark (`facts.yaml`); not medical advice.

Every fact is a first choice and what replaces it under one chart entry, so that a question can
only be answered by combining the fact with the patient's chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

import yaml

from maporl_cli.core.errors import DataError

Task = Literal["diagnosis", "treatment", "medication"]

_WORD = re.compile(r"[a-z][a-z0-9-]*")  # one token of the word-level tokenizer


@dataclass(frozen=True)
class Fact:
    """`key` calls for `first`, unless the chart says `when`: then for `instead`."""

    task: Task
    key: str
    first: str
    instead: str
    when: str
    source: str


@dataclass(frozen=True)
class Condition:
    """A disease; `finding` alone identifies it, the other `findings` are shared with others."""

    name: str
    finding: str
    findings: tuple[str, ...]
    test: Fact
    treatment: Fact
    source: str


@dataclass(frozen=True)
class Drug:
    """A drug that the patient takes and that must be replaced because of `reason`."""

    name: str
    reason: str
    replacement: Fact
    source: str


@dataclass(frozen=True)
class Contraindication:
    """A chart entry that rules first choices out; the description fixes how severe it is."""

    name: str
    description: str
    source: str


@dataclass(frozen=True)
class Facts:
    """The whole table."""

    conditions: tuple[Condition, ...]
    drugs: tuple[Drug, ...]
    contraindications: tuple[Contraindication, ...]

    def by_task(self, task: Task) -> tuple[Fact, ...]:
        """The facts of one task, in file order, which is what a seeded split relies on."""
        if task == "diagnosis":
            return tuple(c.test for c in self.conditions)
        if task == "treatment":
            return tuple(c.treatment for c in self.conditions)
        return tuple(d.replacement for d in self.drugs)


@cache
def load() -> Facts:
    """The packaged table, read once: it is frozen, so all callers can share it."""
    path = resources.files("maporl_cli.data.clinic").joinpath("facts.yaml")
    return parse(yaml.safe_load(path.read_text(encoding="utf-8")))


def parse(raw: Any) -> Facts:
    """Checks the content of a facts file; apart from `load` so that a broken one can be tested."""
    row: Any = "facts.yaml"
    try:  # Rows become keyword arguments, so a missing or unknown field is a TypeError.
        facts = Facts(
            tuple([_condition(**(row := each)) for each in raw["conditions"]]),
            tuple([_drug(**(row := each)) for each in raw["drugs"]]),
            tuple([Contraindication(**(row := each)) for each in raw["contraindications"]]),
        )
    except (KeyError, TypeError) as error:
        raise _broken(str(row), f"a field is missing, unknown or mistyped: {error}") from error
    for holds, where, why in _rules(facts):
        if not holds:
            raise _broken(where, why)
    return facts


def _condition(name: str, finding: str, findings: Any, test: Any, treatment: Any, source: str) -> Condition:
    test = Fact("diagnosis", finding, source=source, **test)
    treatment = Fact("treatment", name, source=source, **treatment)
    return Condition(name, finding, tuple(findings), test, treatment, source)


def _drug(name: str, reason: str, replacement: Any, source: str) -> Drug:
    return Drug(name, reason, Fact("medication", name, source=source, **replacement), source)


def _rules(facts: Facts) -> Iterator[tuple[bool, str, str]]:
    """Whether each rule holds, where, and how it is broken: else a question gives its answer away."""
    every = tuple(fact for task in get_args(Task) for fact in facts.by_task(task))
    answers, tests = _answers(every), _answers(facts.by_task("diagnosis"))
    charts = [c.name for c in facts.contraindications]
    keys = charts + [fact.key for fact in every]
    shared = {word for c in facts.conditions for word in c.findings} | {d.reason for d in facts.drugs}
    for word in (*keys, *shared, *answers):
        # The type says `str`, but the value comes from YAML, where `no` is a boolean.
        yield bool(_WORD.fullmatch(str(word))), str(word), "is not one hyphenated word"
    for word in (*keys, *shared):
        yield word not in answers, word, "is in a question and also an answer"
    for word in keys:
        yield keys.count(word) == 1 and word not in shared, word, "is used twice"
    for row in (*facts.conditions, *facts.drugs, *facts.contraindications):
        yield bool(row.source), row.name, "cites no source"
    for row in facts.conditions:
        yield 1 <= len(row.findings) <= 3, row.name, "needs 1 to 3 `findings`"
    for fact in every:
        yield fact.first != fact.instead, fact.key, "`first` and `instead` are the same"
        yield fact.when in charts, fact.key, f"{fact.when!r} is no contraindication"
        yield fact.task == "diagnosis" or not tests & _answers([fact]), fact.key, "is answered with a test"


def _answers(facts: Iterable[Fact]) -> set[str]:
    return {word for fact in facts for word in (fact.first, fact.instead)}


def _broken(where: str, why: str) -> DataError:
    fix = "Reinstall the package, or correct the row in maporl_cli/data/clinic/facts.yaml."
    return DataError("The clinic facts cannot be used.", where=where, why=why, fix=fix)
