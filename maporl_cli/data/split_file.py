"""A file of questions cut in two files, whatever its size: it is read twice and never held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maporl_cli.core.types import Question
from maporl_cli.data.duplicates import Fingerprints
from maporl_cli.data.partition import Side, Sizes, assign
from maporl_cli.data.reading import BadRow, QuestionReader
from maporl_cli.data.splits import Placed, refuse_overlap, strata_of
from maporl_cli.data.writing import writing_questions


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What became of the rows of a file.

    Attributes:
        train, eval: rows of the two files.
        unused: rows that the counts asked for left over.
        clusters: sets of near-duplicates, a row with none counting as one.
        bad: rows that are not questions and went nowhere.
    """

    train: int
    eval: int
    unused: int
    clusters: int
    bad: list[BadRow]


def split_file(
    path: Path,
    train: Path,
    held_out: Path,
    sizes: Sizes,
    *,
    seed: int,
    stratify: str | None = None,
    max_bad_rows: int = 0,
) -> SplitReport:
    """Writes the questions of `path` to `train` and `held_out`, near-duplicates on one side.

    That the two share no question is checked on what was written.

    Raises:
        DataError: as `QuestionReader`, and where the rows cannot be split so.
        MaporlError: as `disk_errors`.
    """
    reader = QuestionReader(path, max_bad_rows=max_bad_rows)
    fingerprints = Fingerprints()
    strata = _strata(reader, fingerprints, stratify)
    clusters = fingerprints.clusters()
    sides = assign(clusters, sizes, seed=seed, strata=strata)
    with writing_questions(train) as to_train, writing_questions(held_out) as to_eval:
        write = {Side.TRAIN: to_train, Side.EVAL: to_eval}
        for (_, question), side in zip(reader, sides, strict=True):
            if side in write:
                write[side](question)
    refuse_overlap(_placed(train), _placed(held_out))
    counts = Counter(sides)
    return SplitReport(
        train=counts[Side.TRAIN],
        eval=counts[Side.EVAL],
        unused=counts[Side.UNUSED],
        clusters=len(set(clusters)),
        bad=reader.bad,
    )


def _strata(reader: QuestionReader, fingerprints: Fingerprints, label: str | None) -> list[str] | None:
    """One pass over the file: fingerprints every question, collects its value of `label`."""

    def questions() -> Iterator[Question]:
        for _, question in reader:
            fingerprints.add(question)
            yield question

    if label is not None:
        return strata_of(questions(), label)
    for _ in questions():
        pass
    return None


def _placed(path: Path) -> Iterator[Placed]:
    return ((f"{path.name} {place}", question) for place, question in QuestionReader(path))
