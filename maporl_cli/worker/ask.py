"""`maporl ask`: a run's team on one question of the user's own, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maporl_cli.core.config import Config
from maporl_cli.core.randomness import Greedy
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Episode, Question
from maporl_cli.monitoring.console import Display
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.plugins import load_plugins
from maporl_cli.worker.session import cold_start_session, open_alone, refuse_unknown_words
from maporl_cli.worker.systems import trained_session


def ask_team(
    config: Config, *, run: Path | None, questions: Sequence[Question], display: Display
) -> list[Episode]:
    """The finished episodes of the team on `questions`, each agent taking its likeliest words.

    Args:
        config: describes the team; with a run, that run's config and what the user changed of it.
    """
    load_plugins(config.run.plugins)
    narrator = Narrator(display)
    if run is None:
        session = open_alone(config, narrator)
    else:
        session = trained_session(RunDir.existing(run), config, narrator)
    refuse_unknown_words(session, questions)
    if run is None:
        cold_start_session(session, narrator)
    episodes = [Episode(question=question, sample=0, step=0) for question in questions]
    session.team.play(episodes, Greedy())
    return episodes
