"""`maporl eval`: a run's team, and what it is compared with, on questions they never trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.randomness import Draws, Greedy, Sampled
from maporl_cli.core.run_dir import RunDir
from maporl_cli.evaluation.evaluate import evaluate
from maporl_cli.monitoring.console import Display
from maporl_cli.training.checkpoint import Checkpoints, load_weights
from maporl_cli.worker.asked import asked_questions
from maporl_cli.worker.baselines import baseline_config
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.plugins import load_plugins
from maporl_cli.worker.session import Session, cold_start_session, open_alone, refuse_unknown_words


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
        The result's fields; `baselines`: the same for each; and, where nobody can tell whether the
        questions were trained on, a `caution` that says why.
    """
    load_plugins(config.run.plugins)
    narrator = Narrator(display)
    home = None if run is None else RunDir.existing(run)
    asked = asked_questions(config, home, benchmark, data, limit)
    records = (home.evaluation if home is not None else Path("eval")).resolve()
    draws: Draws = Sampled(config.run.seed) if sampled else Greedy()
    mode = "sampled" if sampled else "greedy"

    def ask(session: Session, who: str) -> dict[str, Any]:
        refuse_unknown_words(session, asked.questions)
        if home is None:
            cold_start_session(session, narrator)
        return evaluate(
            session.team,
            asked.questions,
            draws=draws,
            batch_size=config.eval.batch_size,
            ranks=session.ranks,
            records=records / f"{asked.name}.{who}.{mode}.records.jsonl",
            on_progress=lambda done, total: narrator.progress(f"{who}: question", done, total),
        ).to_json()

    team = open_alone(config, narrator) if home is None else trained_session(home, config, narrator)
    result = ask(team, "untrained" if home is None else "team")
    compared = {which: ask(_baseline(which, home, config, narrator), which) for which in baselines}
    cautions = {"caution": asked.caution} if asked.caution else {}
    return result | cautions | {"baselines": compared}


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
    session = open_alone(config, narrator)
    load_weights(latest, session.policies, session.ranks)
    return session


def _baseline(which: str, home: RunDir | None, config: Config, narrator: Narrator) -> Session:
    if home is None:
        return open_alone(config if which == "untrained" else baseline_config(config, which), narrator)
    if which == "untrained":
        session = open_alone(config, narrator)
        load_weights(Checkpoints(home.checkpoints, keep=1).start(), session.policies, session.ranks)
        return session
    alone = baseline_config(config, which)
    trained = RunDir(home.path / "baselines" / which)
    if not trained.config.is_file():
        raise ConfigError(
            f"The run did not train the baseline {which!r}.",
            where=str(home.path),
            why=f"its eval.baselines is {list(config.eval.baselines)}",
            fix=f"train a run with --set eval.baselines=[{which}], or leave {which} out of --baselines",
        )
    return trained_session(trained, alone, narrator)
