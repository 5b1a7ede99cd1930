"""Which questions an evaluation asks, and the proof that the run did not train on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError, UsageError
from maporl_cli.core.manifest import refuse_changed_data
from maporl_cli.core.run_dir import RunDir, changed_science_fields
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import benchmark as benchmark_called
from maporl_cli.data.benchmarks import benchmark_names
from maporl_cli.data.fetch import HUB_SETS, fetched
from maporl_cli.data.reading import read_questions
from maporl_cli.data.splits import Split, content_digest, load_split, refuse_overlap
from maporl_cli.worker.plugins import plugin_hashes

_FETCHED = Path("data")
"""Where `maporl data fetch` writes, too."""
_DECIDES_THE_SPLIT = (
    "data.train",
    "data.eval",
    "data.eval_fraction",
    "data.max_train_samples",
    "data.max_eval_samples",
    "data.sample_seed",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions of an evaluation.

    Attributes:
        name: what their records go by.
        caution: why nobody can tell whether they were trained on; empty where they were not.
    """

    questions: list[Question]
    name: str
    caution: str = ""


def asked_questions(
    config: Config,
    home: RunDir | None,
    benchmark: str | None,
    data: Path | None,
    limit: int | None,
    split: str | None = None,
) -> Asked:
    """What to ask; none of it was trained on, as far as the run's data is still there to tell.

    Args:
        split: of a published benchmark, whose files are fetched to `data/` where they are not there yet.

    Raises:
        MissingError: a published benchmark is not here, and the hub cannot be reached.
        UsageError: a split of what has none.
        DataError: a question was trained on, or what the run held out has changed.
        ConfigError: a key that decides what the run trained on is given another value.
    """
    if split is not None and benchmark not in HUB_SETS:
        raise UsageError(
            f"{benchmark} has no splits to choose from.",
            where="--split",
            why=f"those that have are: {', '.join(HUB_SETS)}",
            fix="leave it out",
        )
    first = "" if limit is None else f"-first_{limit}"
    if data is None and (benchmark is None or benchmark == config.data.train):
        return Asked(_split(config, home).eval[:limit], f"held_out{first}")
    if data is not None:
        asked = list(islice(read_questions(data, max_bad_rows=config.data.max_bad_rows), limit))
        # Two files of one name keep their records apart.
        # A dot would begin the name of a system's records.
        name = f"{data.stem.replace('.', '_')}-{content_digest(asked)[:8]}"
    else:
        named = benchmark or config.data.train
        asked = list(islice(_benchmark(named, split, config), limit))
        name = f"{named}{first}" if split is None else f"{named}-{split}{first}"
    caution = "" if home is None else _refuse_trained_on(config, home, asked, str(data or benchmark))
    return Asked(asked, name, caution)


def _benchmark(named: str, split: str | None, config: Config) -> Iterator[Question]:
    """The questions of a benchmark: one that is generated or registered, or a published one."""
    if named in HUB_SETS:
        return iter(read_questions(fetched(named, split, _FETCHED), max_bad_rows=config.data.max_bad_rows))
    if named not in benchmark_names():
        known = (*benchmark_names(), *HUB_SETS)
        (near,) = get_close_matches(named, known, n=1, cutoff=0.0)
        raise ConfigError(
            f"There is no benchmark {named!r}.",
            why=f"there are: {', '.join(known)}",
            fix=f"maporl eval {near}, or --data FILE for a file",
        )
    return iter(benchmark_called(named).evaluation(config.data.sample_seed))


def _refuse_trained_on(config: Config, home: RunDir, asked: Sequence[Question], source: str) -> str:
    """Raises where one of `asked` was trained on; gives a caution where the run's data is gone or changed."""
    try:
        split = _split(config, home)
    except DataError as error:
        return f"cannot tell whether {source} was trained on: {error.what} {error.where}"
    refuse_overlap(
        [(f"training question {question.id}", question) for question in split.train],
        [(f"{source} question {question.id}", question) for question in asked],
    )
    return ""


def _split(config: Config, home: RunDir | None) -> Split:
    """What the run trained on and held out; without a run, what one of this config would."""
    if home is None:
        return load_split(config)
    own = home.load_config()
    changed = [key for key in changed_science_fields(own, config) if key in _DECIDES_THE_SPLIT]
    if changed:
        raise ConfigError(
            f"The run {home.path} was trained with another value of {', '.join(changed)}.",
            why="with this one, questions that it trained on would count as held out",
            fix="leave it out; to ask other questions, name them with --data FILE",
        )
    split = load_split(own)
    refuse_changed_data(home, split.sources | plugin_hashes(own.run.plugins))
    return split
