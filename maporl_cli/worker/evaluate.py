"""`maporl eval`: a run's team, and what it is compared with, on questions they never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError, MissingError
from maporl_cli.core.manifest import refuse_changed_data
from maporl_cli.core.randomness import Draws, Greedy, Sampled
from maporl_cli.core.run_dir import RunDir, changed_science_fields
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import benchmark as benchmark_called
from maporl_cli.data.reading import read_questions
from maporl_cli.data.splits import Split, content_digest, load_split, refuse_overlap
from maporl_cli.evaluation.evaluate import evaluate
from maporl_cli.monitoring.console import Display
from maporl_cli.training.checkpoint import Checkpoints, load_weights
from maporl_cli.worker.baselines import baseline_config
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.plugins import load_plugins, plugin_hashes
from maporl_cli.worker.session import Session, cold_start_session, open_session, refuse_unknown_words

_DECIDES_THE_SPLIT = (
    "data.train",
    "data.eval",
    "data.eval_fraction",
    "data.max_train_samples",
    "data.max_eval_samples",
    "data.sample_seed",
)


def evaluate_run(
    config: Config,
    *,
    run: Path | None,
    benchmark: str | None,
    data: Path | None,
    limit: int | None,
    sampled: bool,
    baselines: Sequence[str],
    display: Display,
) -> dict[str, Any]:
    """Evaluate the team of `run` (without one: the untrained team of `config`), and what it is compared with.

    Args:
        config: describes the team; with a run, that run's config and what the user changed of it.
        benchmark, data: what to ask; neither: the questions the run held out.
        limit: ask only the first so many.
        sampled: sample at each agent's temperature instead of taking the likeliest tokens.
        baselines: any of `untrained`, `single`, `reporter_alone`.

    Returns:
        The result's fields, and `baselines`: the same for each.
    """
    load_plugins(config.run.plugins)
    narrator = Narrator(display)
    home = None if run is None else RunDir.existing(run)
    questions, name = _questions(config, home, benchmark, data, limit, narrator)
    records = (home.evaluation if home is not None else Path("eval")).resolve()
    draws: Draws = Sampled(config.run.seed) if sampled else Greedy()
    mode = "sampled" if sampled else "greedy"

    def ask(session: Session, who: str) -> dict[str, Any]:
        refuse_unknown_words(session, questions)
        return evaluate(
            session.team,
            questions,
            draws=draws,
            batch_size=config.eval.batch_size,
            records=records / f"{name}.{who}.{mode}.records.jsonl",
            on_progress=lambda done, total: narrator.progress(f"{who}: question", done, total),
        ).to_json()

    team = _untrained(config, narrator) if home is None else trained_session(home, config, narrator)
    result = ask(team, "untrained" if home is None else "team")
    compared = {which: ask(_baseline(which, home, config, narrator), which) for which in baselines}
    return result | {"baselines": compared}


def trained_session(home: RunDir, config: Config, narrator: Narrator) -> Session:
    """The team of a run, as its newest checkpoint has it.

    Raises:
        MissingError: the run has no checkpoint yet.
    """
    latest = Checkpoints(home.checkpoints, keep=1).latest()
    if latest is None:
        raise MissingError(
            "The run has no checkpoint to evaluate.",
            where=str(home.path),
            why="it stopped before its first one was written, or its checkpoints were removed",
            fix=f"maporl train --resume --name {home.path.name} --output-dir {home.path.parent}",
        )
    narrator.say(f"team of {home.path} as of {latest.name}")
    session = open_session(config, narrator)
    load_weights(latest, session.policies)
    return session


def _untrained(config: Config, narrator: Narrator) -> Session:
    session = open_session(config, narrator)
    cold_start_session(session, narrator)
    return session


def _baseline(which: str, home: RunDir | None, config: Config, narrator: Narrator) -> Session:
    if which == "untrained":
        if home is None:
            return _untrained(config, narrator)
        session = open_session(config, narrator)
        load_weights(Checkpoints(home.checkpoints, keep=1).start(), session.policies)
        return session
    alone = baseline_config(config, which)
    if home is None:
        return _untrained(alone, narrator)
    trained = RunDir(home.path / "baselines" / which)
    if not trained.config.is_file():
        raise ConfigError(
            f"The run did not train the baseline {which!r}.",
            where=str(home.path),
            why=f"its eval.baselines is {list(config.eval.baselines)}",
            fix=f"train a run with --set eval.baselines=[{which}], or leave {which} out of --baselines",
        )
    return trained_session(trained, alone, narrator)


def _questions(
    config: Config,
    home: RunDir | None,
    benchmark: str | None,
    data: Path | None,
    limit: int | None,
    narrator: Narrator,
) -> tuple[list[Question], str]:
    """What to ask, and the name its records go by; none of it was trained on.

    Raises:
        DataError: a question was trained on, or the run's data has changed, so that nobody can tell.
        ConfigError: a key that decides what the run trained on is given another value.
    """
    if data is None and (benchmark is None or benchmark == config.data.train):
        return _split(config, home).eval[:limit], "held_out"
    if data is not None:
        asked = list(islice(read_questions(data, max_bad_rows=config.data.max_bad_rows), limit))
        # Two files of one name keep their records apart.
        name = f"{data.stem}-{content_digest(asked)[:8]}"
    else:
        named = benchmark or config.data.train
        asked, name = list(islice(benchmark_called(named).evaluation(config.data.sample_seed), limit)), named
    if home is not None:
        _refuse_trained_on(config, home, asked, str(data or benchmark), narrator)
    return asked, name


def _refuse_trained_on(
    config: Config, home: RunDir, asked: Sequence[Question], source: str, narrator: Narrator
) -> None:
    """Raises where one of `asked` was trained on; says so where the run's data is gone or changed."""
    try:
        split = _split(config, home)
    except DataError as error:
        narrator.say(f"cannot tell whether {source} was trained on: {error.what} {error.where}")
        return
    refuse_overlap(
        [(f"training question {question.id}", question) for question in split.train],
        [(f"{source} question {question.id}", question) for question in asked],
    )


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
