"""What a file of questions holds, and every row of it that is not a question."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maporl_cli.core.types import Question
from maporl_cli.data.duplicates import Fingerprints, content_number, equal_runs
from maporl_cli.data.reading import BadRow, QuestionReader
from maporl_cli.data.test_sets import test_set_of_name, test_set_of_row

_NO_ANSWER = 0
"""Stands for the gold answer of a question that has none."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Sets of rows that repeat each other.

    Attributes:
        rows: rows beyond the first of each set.
        sets: the places of each set's rows, in order.
    """

    rows: int
    sets: list[list[str]]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What a file holds.

    Attributes:
        path: the file.
        questions: rows that are questions.
        unlabelled: those of them without a gold answer.
        formats: rows by published format.
        options: rows by their number of options, 0 for free text.
        letters: rows by gold letter.
        exact: rows with the same stem, context and options.
        conflicts: sets of `exact` whose gold answers differ.
        near: rows whose words nearly agree and that are not in `exact`.
        bad: every row that is not a question.
        test_set: why the file seems to be a public test set, empty if it does not.
    """

    path: Path
    questions: int
    unlabelled: int
    formats: dict[str, int]
    options: dict[int, int]
    letters: dict[str, int]
    exact: Repeats
    conflicts: Repeats
    near: Repeats
    bad: list[BadRow]
    test_set: str

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "file": str(self.path),
            "rows": self.questions + len(self.bad),
            "questions": self.questions,
            "unlabelled": self.unlabelled,
            "formats": self.formats,
            "options": {str(number): rows for number, rows in self.options.items()},
            "letters": self.letters,
            "exact_duplicates": _repeats_json(self.exact),
            "conflicting_labels": _repeats_json(self.conflicts),
            "near_duplicates": _repeats_json(self.near),
            "bad": [{"place": row.place, "reason": row.reason} for row in self.bad],
            "test_set": self.test_set or None,
        }


def validate(path: Path) -> FileReport:
    """Reads the whole of `path` and reports on it; memory grows by some hundred bytes a row.

    Raises:
        DataError: the file cannot be opened or read.
    """
    reader = QuestionReader(path, max_bad_rows=None, unlabelled=True)
    fingerprints, contents, answers = Fingerprints(), array("Q"), array("Q")
    places: list[str] = []
    unlabelled = 0
    options: Counter[int] = Counter()
    letters: Counter[str] = Counter()
    test_set = test_set_of_name(path) or ""
    for place, question in reader:
        places.append(place)
        options[len(question.options)] += 1
        unlabelled += not question.has_gold
        if question.options and question.has_gold:
            letters[question.answer] += 1
        fingerprints.add(question)
        contents.append(content_number(question))
        answers.append(_answer_number(question))
        found = test_set_of_row(question)
        if found and not test_set:
            test_set = f"{place} is from {found}"
    exact: list[list[int]] = [rows.tolist() for rows in equal_runs(np.frombuffer(contents, np.uint64))]
    conflicts = [rows for rows in exact if len({answers[row] for row in rows} - {_NO_ANSWER}) > 1]
    return FileReport(
        path=path,
        questions=len(places),
        unlabelled=unlabelled,
        formats=dict(reader.formats.most_common()),
        options=dict(sorted(options.items())),
        letters=dict(sorted(letters.items())),
        exact=_repeats(exact, places),
        conflicts=_repeats(conflicts, places),
        near=_repeats(_near(fingerprints.clusters(), contents), places),
        bad=reader.bad,
        test_set=test_set,
    )


def _answer_number(question: Question) -> int:
    """Equal where the gold answers have the same text."""
    if not question.has_gold:
        return _NO_ANSWER
    return hash(" ".join(question.options.get(question.answer, question.answer).casefold().split())) % 2**64


def _near(clusters: list[int], contents: array[int]) -> list[list[int]]:
    """The first row of each distinct content, in sets of near-duplicates."""
    first: dict[int, dict[int, int]] = {}
    for row, cluster in enumerate(clusters):
        first.setdefault(cluster, {}).setdefault(contents[row], row)
    return [list(rows.values()) for rows in first.values() if len(rows) > 1]


def _repeats(sets: list[list[int]], places: list[str]) -> Repeats:
    return Repeats(
        rows=sum(len(rows) - 1 for rows in sets),
        sets=[[places[row] for row in rows] for rows in sorted(sets)],
    )


def _repeats_json(repeats: Repeats) -> dict[str, Any]:
    return {"rows": repeats.rows, "sets": repeats.sets}
