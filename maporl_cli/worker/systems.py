"""What an evaluation asks: a run's team as it is now, as it was before training, and agents alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from maporl_cli.agents.policy import Speaker
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.systems import MAJORITY, REPORTER_ALONE, SINGLE, TEAM, UNTRAINED, ZERO_SHOT
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Question
from maporl_cli.training.checkpoint import Checkpoints, load_weights
from maporl_cli.training.ranks import Ranks
from maporl_cli.worker.answering import answering_alone
from maporl_cli.worker.baselines import baseline_config
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.session import (
    Session,
    cold_start_session,
    open_alone,
    open_session,
    refuse_unknown_words,
    start_from,
)


class Systems:
    """Opens what is evaluated.

    Args:
        config: of the team.
        home: its run; None: nothing was trained.
        questions: what they will be asked.
        ranks: those of the job.
        speaker: speaks in the place of all agents; None: their policies do.
    """

    def __init__(
        self,
        config: Config,
        home: RunDir | None,
        questions: Sequence[Question],
        ranks: Ranks,
        narrator: Narrator,
        speaker: Speaker | None = None,
    ) -> None:
        self._speaker = speaker
        self._config = config
        self._home = home
        self._questions = questions
        self._ranks = ranks
        self._narrator = narrator
        self._start: Mapping[str, Tensor] | None = None

    def there(self) -> list[str]:
        """The baselines that there are: of a run, those that it trained.

        But for `zero_shot`, which costs more than all others: whether teamwork helps can be told without.
        """
        if self._home is None:
            return [SINGLE, MAJORITY, REPORTER_ALONE]
        alone = (SINGLE, REPORTER_ALONE)
        trained = [which for which in alone if _is_trained(self._home, which)]
        return [UNTRAINED, *trained, *([MAJORITY] if SINGLE in trained else [])]

    def refuse_missing(self, baselines: Sequence[str]) -> None:
        """Refuses a baseline that cannot be asked.

        Raises:
            ConfigError: the run did not train it, nothing was trained, or it has no words for its prompt.
            DataError: a question has no letters, and it answers with one.
        """
        if ZERO_SHOT in baselines:
            self._zero_shot_config()
        if self._home is None and UNTRAINED in baselines:
            raise ConfigError(
                "Without a run the team is the untrained one.",
                where="--baselines untrained",
                why="it would be compared with itself",
                fix="leave it out, or name what was trained with --run",
            )
        needed = {SINGLE if which == MAJORITY else which for which in baselines} - {UNTRAINED, ZERO_SHOT}
        for which in sorted(needed):
            if self._home is not None and not _is_trained(self._home, which):
                raise ConfigError(
                    f"The run did not train the baseline {which!r}.",
                    where=str(self._home.path),
                    why=f"its eval.baselines is {list(self._home.load_config().eval.baselines)}",
                    fix=f"train a run with --set eval.baselines=[{which}], or leave it out of --baselines",
                )

    def open(self, who: str) -> Session:
        """A system, ready to be asked.

        Raises:
            DataError: tiny policies have no words for what they will be asked.
            MissingError: the run has no checkpoint.
        """
        home, config = self._home, self._config
        if who == ZERO_SHOT:
            return self._built(self._zero_shot_config())
        if home is None:
            session = self._built(config if who in (TEAM, UNTRAINED) else baseline_config(config, who))
            if session.cold_starts is None:
                return session
            if self._start is None:
                cold_start_session(session, self._narrator)
                self._start = _weights_of(session)
            else:
                start_from(self._start, session)  # what the team starts from, as in a run
            return session
        if who == UNTRAINED:
            session = self._built(config)
            load_weights(Checkpoints(home.checkpoints, keep=1).start(), session.policies, session.ranks)
            return session
        if who != TEAM:
            config, home = baseline_config(config, who), _alone_in(home, who)
        session = self._built(config)
        load_weights(newest(home, self._narrator), session.policies, session.ranks)
        return session

    def _zero_shot_config(self) -> Config:
        """Of the last agent alone; its model is built as training found it."""
        option = f"--baselines {ZERO_SHOT}"
        return answering_alone(self._config, self._questions, option, served=self._speaker is not None)

    def _built(self, config: Config) -> Session:
        session = open_session(
            config, self._narrator, self._ranks, Timeline(), verified=False, speaker=self._speaker
        )
        refuse_unknown_words(session, self._questions)
        return session


def _weights_of(session: Session) -> dict[str, Tensor]:
    """A copy of what all policies of a session start from; nothing where this rank has none of them."""
    weights = next((policy.trainable() for policy in session.policies.values()), {})
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def trained_session(home: RunDir, config: Config, narrator: Narrator) -> Session:
    """The team of a run as it is now, with all agents on this one rank.

    Raises:
        MissingError: the run has no checkpoint yet.
    """
    session = open_alone(config, narrator)
    load_weights(newest(home, narrator), session.policies, session.ranks)
    return session


def newest(home: RunDir, narrator: Narrator) -> Path:
    """The last checkpoint of a run.

    Raises:
        MissingError: the run has none yet.
    """
    latest = Checkpoints(home.checkpoints, keep=1).latest()
    if latest is None:
        raise MissingError(
            "The run has no checkpoint to evaluate.",
            where=str(home.path),
            why="it stopped before its first one was written, or its checkpoints were removed",
            fix=f"maporl train --resume --name {home.path.name} --output-dir {home.path.parent}",
        )
    narrator.say(f"{home.path} as of {latest.name}")
    return latest


def _alone_in(home: RunDir, which: str) -> RunDir:
    """Where a run keeps a baseline that it trained."""
    return RunDir(home.path / "baselines" / which)


def _is_trained(home: RunDir, which: str) -> bool:
    return _alone_in(home, which).config.is_file()
