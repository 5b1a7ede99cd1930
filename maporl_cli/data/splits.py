"""Training and evaluation questions, and the proof that they share none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from pathlib import Path

from maporl_cli.core.config import Config, DataConfig
from maporl_cli.core.errors import DataError
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import benchmark, benchmark_names
from maporl_cli.data.duplicates import content_number, group_near_duplicates
from maporl_cli.data.partition import Side, Sizes, assign_labelled
from maporl_cli.data.reading import SHOWN, QuestionReader
from maporl_cli.data.test_sets import test_set_of_name, test_set_of_row

# Where a question stands (`train.jsonl line 3`), and the question.
Placed = tuple[str, Question]


@dataclass(frozen=True, slots=True)
class Split:
    """What a run trains on and what it is evaluated on.

    Attributes:
        train: in the order of their source.
        eval: as `train`; shares no question with it.
        sources: SHA-256 of every file read by its path, and of a benchmark's questions by its name.
        notes: what a reader of the run should know: bad rows left out, near-duplicates, a
            public test set trained on.
    """

    train: list[Question]
    eval: list[Question]
    sources: dict[str, str]
    notes: list[str]


@dataclass(slots=True)
class _Loading:
    """What is gathered on the way."""

    data: DataConfig
    unlabelled: bool
    """Whether questions without a gold answer may be trained on."""
    sources: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])


def load_split(config: Config) -> Split:
    """The training and evaluation questions that `config.data` names.

    `data.eval` may be absent: a benchmark then gives its own evaluation questions, and of a
    training file `data.eval_fraction` is held out, near-duplicates staying on one side. Of a file
    `data.max_train_samples` and `data.max_eval_samples` draw rows at random by
    `data.sample_seed`, without holding the others; of a benchmark they are its first ones.

    Questions without a gold answer are only trained on, beside some that have one, and only with
    `reward.verifier: learned`.

    Raises:
        DataError: a file cannot be read, has too many bad rows, is a known public test set that
            would be trained on, or shares questions with the other side; no training question has a
            gold answer.
        ConfigError: no such benchmark.
    """
    loading = _Loading(config.data, unlabelled=config.reward.verifier == "learned")
    data = config.data
    train_is_file = data.train not in benchmark_names()
    if train_is_file and data.eval is None:
        train, held_out = _held_out(loading)
    else:
        train = _training(loading)
        held_out = _evaluation(loading, data.eval or data.train)
    refuse_overlap(train, held_out)
    if train_is_file and data.eval is not None:
        _note_near_duplicates(loading, train, held_out)
    if data.tuning_fraction is not None:
        train, held_out = _cut(loading, train, data.tuning_fraction, "in place of the evaluation questions")
        held_out = _sample(held_out, data.max_eval_samples, data.sample_seed)
    _note_unlabelled(loading, train)
    sides = (("training", data.train, train), ("evaluation", data.eval or data.train, held_out))
    for side, source, rows in sides:
        if source in benchmark_names():
            loading.sources[f"{source} ({side})"] = content_digest(_questions(rows))
    return Split(_questions(train), _questions(held_out), loading.sources, loading.notes)


def content_digest(questions: Iterable[Question]) -> str:
    """SHA-256 of all that the questions say, in their order."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(repr(question).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def strata_of(questions: Iterable[Question], label: str) -> list[str]:
    """Each question's value of `label`, empty where it has none.

    Raises:
        DataError: no question has it; the error names those that there are.
    """
    strata: list[str] = []
    known: set[str] = set()
    for question in questions:
        strata.append(question.labels.get(label, ""))
        known.update(question.labels)
    if label not in known:
        raise DataError(
            f"No row has the field {label!r} to stratify by.",
            why=f"the rows' fields are {', '.join(sorted(known)) or 'none but the question itself'}",
            fix="name one of those fields with --stratify, or leave it out",
        )
    return strata


def _held_out(loading: _Loading) -> tuple[list[Placed], list[Placed]]:
    """A training file cut in two."""
    data = loading.data
    limit = data.max_train_samples
    pool = None if limit is None else ceil(limit / (1 - data.eval_fraction))
    placed = _file(loading, Path(data.train), pool, trained_on=True)
    train, held_out = _cut(loading, placed, data.eval_fraction, "for evaluation")
    return (
        _sample(train, limit, data.sample_seed),
        _sample(held_out, data.max_eval_samples, data.sample_seed),
    )


def _cut(
    loading: _Loading, placed: list[Placed], fraction: float, purpose: str
) -> tuple[list[Placed], list[Placed]]:
    """Training rows, and that fraction of them held out; near-duplicates stay on one side."""
    data = loading.data
    questions = _questions(placed)
    _refuse_no_labels(loading, placed)
    clusters = group_near_duplicates(questions, workers=data.dataloader_num_workers)
    labelled = [question.has_gold for question in questions]
    sides = assign_labelled(clusters, labelled, Sizes(eval_fraction=fraction), seed=data.sample_seed)
    train = [row for row, side in zip(placed, sides, strict=True) if side is Side.TRAIN]
    held_out = [row for row, side in zip(placed, sides, strict=True) if side is Side.EVAL]
    loading.notes.append(f"{len(held_out)} of {len(placed)} rows of {data.train} held out {purpose}")
    if unused := sides.count(Side.UNUSED):
        loading.notes.append(
            f"{unused} rows of {data.train} without a gold answer left out: they nearly repeat a held-out one"
        )
    return train, held_out


def _training(loading: _Loading) -> list[Placed]:
    data = loading.data
    if data.train in benchmark_names():
        questions = benchmark(data.train).train(data.sample_seed)
        return _benchmark_rows(data.train, questions, data.max_train_samples, unlabelled=loading.unlabelled)
    return _file(loading, Path(data.train), data.max_train_samples, trained_on=True)


def _evaluation(loading: _Loading, source: str) -> list[Placed]:
    data = loading.data
    if source in benchmark_names():
        questions = benchmark(source).evaluation(data.sample_seed)
        return _benchmark_rows(source, questions, data.max_eval_samples, unlabelled=False)
    return _file(loading, Path(source), data.max_eval_samples, trained_on=False)


def _benchmark_rows(
    name: str, questions: Iterator[Question], limit: int | None, *, unlabelled: bool
) -> list[Placed]:
    placed = [(f"{name} question {question.id}", question) for question in islice(questions, limit)]
    if not unlabelled:
        for place, question in placed:
            if not question.has_gold:
                raise DataError(
                    "A question of the benchmark has no gold answer.",
                    where=place,
                    why="nobody could tell whether an answer is right",
                    fix="use it for training only, with --set reward.verifier=learned",
                )
    return placed


def _refuse_no_labels(loading: _Loading, train: list[Placed]) -> None:
    """Raises DataError where a verifier would have nothing to learn from."""
    if train and not any(question.has_gold for _, question in train):
        raise DataError(
            "No training question has a gold answer.",
            where=loading.data.train,
            why=f"the verifier would have to learn from them what a right answer is; there are {len(train)}",
            fix="add questions with a label to the training data; maporl data validate FILE counts them",
        )


def _note_unlabelled(loading: _Loading, train: list[Placed]) -> None:
    _refuse_no_labels(loading, train)
    count = sum(not question.has_gold for _, question in train)
    if count:
        loading.notes.append(
            f"{count} of {len(train)} training questions have no gold answer: the verifier judges them"
        )


def _file(loading: _Loading, path: Path, limit: int | None, *, trained_on: bool) -> list[Placed]:
    """The rows of a file, or `limit` of them drawn at random; notes its hash and bad rows."""
    if not path.exists() and path.suffix == "" and len(path.parts) == 1:
        benchmark(str(path))  # Says that there is neither, and which benchmark was meant.
    reader = QuestionReader(
        path, max_bad_rows=loading.data.max_bad_rows, unlabelled=trained_on and loading.unlabelled
    )
    placed = ((f"{path.name} {place}", question) for place, question in reader)
    if trained_on:
        placed = _known_test_rows(loading, path, placed)
    rows = _sample(placed, limit, loading.data.sample_seed)
    if reader.bad:
        shown = "; ".join(f"{row.place}: {row.reason}" for row in reader.bad[:SHOWN])
        loading.notes.append(f"{len(reader.bad)} bad rows of {path} left out: {shown}")
    with path.open("rb") as file:
        loading.sources[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return rows


def _known_test_rows(loading: _Loading, path: Path, placed: Iterable[Placed]) -> Iterator[Placed]:
    """Passes the rows on; a public test set is refused, or noted where it is allowed."""
    why = test_set_of_name(path)
    for place, question in placed:
        found = why is None and test_set_of_row(question)
        if found:
            why = f"{place} is from {found}"
        if why and not loading.data.allow_test_set:
            raise DataError(
                "The training file is a public test set.",
                where=str(path),
                why=f"{why}; a model trained on it cannot be judged by it any more",
                fix="train on other questions, or accept it with --set data.allow_test_set=true "
                "(the run's manifest records that)",
            )
        yield place, question
    if why:
        loading.notes.append(f"trained on a public test set, as data.allow_test_set allows: {path} ({why})")


def _sample(rows: Iterable[Placed], limit: int | None, seed: int) -> list[Placed]:
    """`limit` rows drawn at random in their order, holding no more than that (Vitter's algorithm R)."""
    if limit is None:
        return list(rows)
    draws = keyed_generator("sample", seed)
    held: list[tuple[int, Placed]] = []
    for index, row in enumerate(rows):
        if index < limit:
            held.append((index, row))
        elif (place := int(draws.integers(index + 1))) < limit:
            held[place] = (index, row)
    return [row for _, row in sorted(held, key=lambda item: item[0])]


def refuse_overlap(train: Iterable[Placed], held_out: Iterable[Placed]) -> None:
    """Raises DataError where a question is on both sides, whatever its id or order of options."""
    places = {content_number(question): place for place, question in held_out}
    shared = [
        (place, places[key]) for place, question in train if (key := content_number(question)) in places
    ]
    if shared:
        shown = "; ".join(f"{one} = {other}" for one, other in shared[:SHOWN])
        raise DataError(
            f"Training and evaluation share {len(shared)} questions.",
            where=shown,
            why="a score on questions that were trained on means nothing",
            fix="remove them from one side, or let `maporl data split FILE` make both from one file",
        )


def _note_near_duplicates(loading: _Loading, train: list[Placed], held_out: list[Placed]) -> None:
    clusters = group_near_duplicates(
        _questions([*held_out, *train]), workers=loading.data.dataloader_num_workers
    )
    first = {cluster: place for (place, _), cluster in zip(held_out, clusters, strict=False)}
    near = [
        (place, first[cluster])
        for (place, _), cluster in zip(train, clusters[len(held_out) :], strict=True)
        if cluster in first
    ]
    if near:
        loading.notes.append(
            f"{len(near)} training questions nearly repeat an evaluation question, such as "
            f"{near[0][0]} and {near[0][1]}; they are trained on"
        )


def _questions(placed: Iterable[Placed]) -> list[Question]:
    return [question for _, question in placed]
