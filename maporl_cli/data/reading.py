"""Questions from a file, streamed: nothing is held but the row at hand.

A row that is not a question is never skipped silently: the reader keeps its place and reason,
and stops once there are more of them than the caller allows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from maporl_cli.core.errors import DataError
from maporl_cli.core.types import Question
from maporl_cli.data.fields import RowError
from maporl_cli.data.formats import NO_LABEL, content_id, read_row
from maporl_cli.data.json_rows import Row, Unreadable, stream_rows

SHOWN = 5
# How far the reader looks for more bad rows to show, once there are too many.
LOOK_AHEAD = 1000


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not a question: where it stands (`line 17`) and why."""

    place: str
    reason: str


class _Seen:
    """A set of ids that keeps eight bytes of each, for files of millions of rows."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def __contains__(self, name: str) -> bool:
        return self._hash(name) in self._hashes

    def add(self, name: str) -> None:
        self._hashes.add(self._hash(name))

    @staticmethod
    def _hash(name: str) -> int:
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


class QuestionReader:
    """Iterates over `(place, question)` of a file, and remembers what was not a question.

    Ids are unique: a row with an id that another row has is bad; rows without ids that repeat a
    question get `-2`, `-3`, … behind their content's id.

    Args:
        path: a `.json` file (an array, an object of rows) or a file with a JSON object a line.
        max_bad_rows: bad rows that are tolerated; `None`: any number.
        limit: stop after so many questions.
        unlabelled: take rows without a label as questions without a gold answer; else they are bad rows.
        rows: reads the rows; a source that is no file is given here, and `path` names it.

    Attributes:
        bad: the bad rows met so far.
        formats: how many rows each format had so far.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bad_rows: int | None = 0,
        limit: int | None = None,
        unlabelled: bool = False,
        rows: Callable[[Path], Iterable[Row]] = stream_rows,
    ) -> None:
        self.path = path
        self._rows_of = rows
        self.bad: list[BadRow] = []
        self.formats: Counter[str] = Counter()
        self._max_bad_rows = max_bad_rows
        self._limit = limit
        self._unlabelled = unlabelled
        self._seen = _Seen()
        self._repeats: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[str, Question]]:
        """Reads the file from its start.

        Raises:
            DataError: the file cannot be read or holds no question, or more than `max_bad_rows`
                of its rows are bad; the message shows the first few.
        """
        self.bad, self.formats = [], Counter()
        self._seen, self._repeats = _Seen(), Counter()
        found = beyond = 0
        for row in self._rows():
            question = self._question(row)
            if self._too_many():
                beyond += 1
                if len(self.bad) >= self._shown() or beyond >= LOOK_AHEAD:
                    break
            elif question is not None:
                found += 1
                yield row.place, question
                if found == self._limit:
                    return
        if self._too_many():
            raise self._too_many_error()
        if not found and self._max_bad_rows is not None:
            raise DataError(
                "The file holds no question.",
                where=str(self.path),
                why=f"{len(self.bad)} bad rows and no good one" if self.bad else "it has no rows",
                fix=f"maporl data validate {self.path}",
            )

    def _rows(self) -> Iterator[Row]:
        try:
            yield from self._rows_of(self.path)
        except Unreadable as error:
            # The rest of the file is lost, so this is not one bad row among others.
            self.bad.append(BadRow(f"after row {self.formats.total() + len(self.bad)}", str(error)))
            if self._max_bad_rows is not None:
                raise DataError(
                    "The file is broken and cannot be read to its end.",
                    where=f"{self.path}, {self.bad[-1].place}",
                    why=self.bad[-1].reason,
                    fix="write the file again as valid JSON, or as JSONL: one object a line.",
                ) from None
        except OSError as error:
            raise DataError(
                "The file of questions cannot be read.",
                where=str(self.path),
                why=error.strerror or type(error).__name__,
                fix="name a JSON or JSONL file that exists and that you may read.",
            ) from None

    def _question(self, row: Row) -> Question | None:
        """The row's question with an id of its own, or None after noting why there is none."""
        try:
            if isinstance(row.value, RowError):
                raise row.value
            question, form = read_row(row.value, row.key, unlabelled=self._unlabelled)
            question = self._with_own_id(question)
        except RowError as error:
            self.bad.append(BadRow(row.place, str(error)))
            return None
        self.formats[form] += 1
        return question

    def _with_own_id(self, question: Question) -> Question:
        own = question.id
        if own in self._seen and own != content_id(question.text, question.options, question.context):
            raise RowError("its id is also the id of an earlier row")
        while own in self._seen:
            self._repeats[question.id] += 1
            own = f"{question.id}-{self._repeats[question.id] + 1}"
        self._seen.add(own)
        return question if own == question.id else replace(question, id=own)

    def _too_many(self) -> bool:
        return self._max_bad_rows is not None and len(self.bad) > self._max_bad_rows

    def _shown(self) -> int:
        return max(SHOWN, (self._max_bad_rows or 0) + 1)

    def _too_many_error(self) -> DataError:
        shown = "; ".join(f"{row.place}: {row.reason}" for row in self.bad[:SHOWN])
        allowed = self._max_bad_rows or 0
        no_label = any(row.reason == NO_LABEL for row in self.bad)
        return DataError(
            f"More than {allowed} rows are not questions."
            if allowed
            else f"{'A row is not a question' if len(self.bad) == 1 else 'Rows are not questions'}.",
            where=f"{self.path}: {shown}",
            why=f"data.max_bad_rows is {allowed}; at least {len(self.bad)} rows are bad",
            fix=f"maporl data validate {self.path} lists every bad row; correct them, or leave them out "
            "with --set data.max_bad_rows=N (in maporl data: --max-bad-rows N)"
            + ("; rows without a label can be trained on with --set reward.verifier=learned" * no_label),
        )


def read_questions(path: Path, *, max_bad_rows: int = 0, limit: int | None = None) -> Iterator[Question]:
    """The questions of `path`, streamed; see `QuestionReader` for what a bad row does.

    Raises:
        DataError: on iteration; see `QuestionReader.__iter__`.
    """
    return (question for _, question in QuestionReader(path, max_bad_rows=max_bad_rows, limit=limit))
