"""Public data sets from the Hugging Face hub, written in the project's own shape."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from maporl_cli.core.errors import DataError, MissingError, UsageError
from maporl_cli.data.json_rows import Row
from maporl_cli.data.reading import SHOWN, BadRow, QuestionReader
from maporl_cli.data.writing import writing_questions

# (repository, config, split) to its rows, one at a time.
Load = Callable[[str, str | None, str], Iterable[Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class HubSet:
    """A data set on the hub.

    Attributes:
        repository, configs: where it is; the rows of several follow one another.
        splits: those with labels, and the name each gets in our file's name; the last is evaluated on.
        note: what whoever trains on it should know.
    """

    repository: str
    configs: tuple[str | None, ...]
    splits: Mapping[str, str]
    note: str = ""

    @property
    def evaluated(self) -> str:
        """Our name of the split that is evaluated on, where none is named."""
        return list(self.splits.values())[-1]


HUB_SETS: Mapping[str, HubSet] = {
    "medxpert": HubSet(
        "TsinghuaC3I/MedXpertQA",
        ("Text",),
        {"dev": "dev", "test": "test"},
        "MedXpertQA has no training split: evaluate on it, train on something else",
    ),
    "medqa": HubSet("GBaker/MedQA-USMLE-4-options", (None,), {"train": "train", "test": "test"}),
    "medmcqa": HubSet(
        "openlifescienceai/medmcqa",
        (None,),
        {"train": "train", "validation": "validation"},
        "the labels of MedMCQA's test split are not public, so it is left out",
    ),
    "pubmedqa": HubSet(
        "qiaojin/PubMedQA",
        ("pqa_labeled",),
        {"train": "labeled"},
        "PubMedQA's test set is 500 of these 1,000 rows: leave those out of training to compare with others",
    ),
    "mmlu-medical": HubSet(
        "cais/mmlu",
        (
            "anatomy",
            "clinical_knowledge",
            "college_biology",
            "college_medicine",
            "medical_genetics",
            "professional_medicine",
        ),
        {"test": "test"},
        "MMLU's medical subjects have no training split: evaluate on them, train on something else",
    ),
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was written, how many questions it holds, and the rows that were none."""

    path: Path
    questions: int
    bad: list[BadRow]


def files_of(name: str, out: Path) -> list[Path]:
    """The files that `fetch` writes.

    Raises:
        UsageError: there is no such data set; the nearest name is offered.
    """
    return [out / f"{name}_{split}.jsonl" for split in _hub_set(name).splits.values()]


def fetched(name: str, split: str | None, out: Path, *, load: Load | None = None) -> Path:
    """The file of one split of the data set `name`, which is fetched where it is not there yet.

    Args:
        split: as in the file's name; None: the one that is evaluated on.

    Raises:
        UsageError: there is no such data set, or no such split.
        MissingError, DataError: as `fetch`.
    """
    hub_set = _hub_set(name)
    known = list(hub_set.splits.values())
    wanted = split or hub_set.evaluated
    if wanted not in known:
        raise UsageError(
            f"{name} has no split {wanted!r} with labels.",
            where="--split",
            why=f"there are: {', '.join(known)}" + (f"; {hub_set.note}" if hub_set.note else ""),
            fix=f"--split {hub_set.evaluated}",
        )
    path = files_of(name, out)[known.index(wanted)]
    if not path.exists():
        theirs = list(hub_set.splits)[known.index(wanted)]
        _fetch_split(name, theirs, path, max_bad_rows=0, load=load or _load_from_hub)
    return path


def fetch(name: str, out: Path, *, max_bad_rows: int = 0, load: Load | None = None) -> Iterator[Fetched]:
    """Writes each split of the data set `name` to `out`, streaming; yields each as it is complete.

    Args:
        name: a key of `HUB_SETS`.
        out: a directory.
        max_bad_rows: rows of a split that may be no questions.
        load: reads a split of a repository; `None`: the hub, through `datasets`.

    Raises:
        UsageError: there is no such data set.
        MissingError: the hub cannot be reached, or `datasets` is offline.
        DataError: more rows of a split than `max_bad_rows` are no questions.
    """
    hub_set = _hub_set(name)
    for path, split in zip(files_of(name, out), hub_set.splits, strict=True):
        yield _fetch_split(name, split, path, max_bad_rows=max_bad_rows, load=load or _load_from_hub)


def _fetch_split(name: str, split: str, path: Path, *, max_bad_rows: int, load: Load) -> Fetched:
    source = f"{HUB_SETS[name].repository} {split}"
    rows = functools.partial(_hub_rows, name, split, path, load)
    reader = QuestionReader(Path(source), max_bad_rows=None, rows=rows)
    questions = 0
    with writing_questions(path) as write:
        for _, question in reader:
            write(question)
            questions += 1
        if len(reader.bad) > max_bad_rows or not questions:
            raise _too_many_bad(name, source, reader.bad)
    return Fetched(path, questions, reader.bad)


def _hub_rows(name: str, split: str, path: Path, load: Load, _: Path) -> Iterator[Row]:
    hub_set = HUB_SETS[name]
    with _hub_errors(name, split, path):
        rows = (row for config in hub_set.configs for row in load(hub_set.repository, config, split))
        for number, row in enumerate(rows, start=1):
            yield Row(f"row {number}", dict(row))


def _load_from_hub(repository: str, config: str | None, split: str) -> Iterable[Mapping[str, object]]:
    import datasets  # pyright: ignore[reportMissingTypeStubs]
    import huggingface_hub

    # They tell of every retry; what matters at the end comes as an error of ours.
    cast(Any, datasets).logging.set_verbosity_error()
    huggingface_hub.logging.set_verbosity_error()
    return cast(Any, datasets).load_dataset(repository, config, split=split, streaming=True)


@contextmanager
def _hub_errors(name: str, split: str, path: Path) -> Generator[None]:
    """Turns what `datasets` and the hub's clients raise for want of a connection into words."""
    import httpx
    from datasets.exceptions import DatasetsError  # pyright: ignore[reportMissingTypeStubs]

    try:
        yield
    except (OSError, DatasetsError, httpx.HTTPError) as error:
        hub_set = HUB_SETS[name]
        raise MissingError(
            f"The data set {name} cannot be read from the Hugging Face hub.",
            where=f"{hub_set.repository}, split {split}",
            why=f"{type(error).__name__}: {error}".splitlines()[0],
            fix=f"connect to the network and try again; or, on a machine that has one, download "
            f"https://huggingface.co/datasets/{hub_set.repository}, save the split as JSONL (one row a "
            f"line, as `datasets` writes with to_json), bring it here as {path} and check it with "
            f"maporl data validate {path}",
        ) from error


def _hub_set(name: str) -> HubSet:
    if name in HUB_SETS:
        return HUB_SETS[name]
    near = difflib.get_close_matches(name, HUB_SETS, n=1)
    raise UsageError(
        f"There is no data set {name!r} to fetch.",
        why=f"known are {', '.join(HUB_SETS)}",
        fix=f"did you mean {near[0]}?" if near else "name one of them",
    )


def _too_many_bad(name: str, source: str, bad: list[BadRow]) -> DataError:
    shown = "; ".join(f"{row.place}: {row.reason}" for row in bad[:SHOWN])
    return DataError(
        f"{len(bad)} rows of {source} are not questions; nothing was written.",
        where=shown or source,
        fix=f"leave them out with maporl data fetch {name} --max-bad-rows {max(1, len(bad))}",
    )
