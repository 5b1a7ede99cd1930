"""A finished run's team, that answers requests: several in one run of its graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from traceback import clear_frames
from typing import Any

from maporl_cli.agents.policy import OutOfMemory
from maporl_cli.core.randomness import Greedy
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Episode, Question
from maporl_cli.monitoring.console import Display
from maporl_cli.serving.answers import answered
from maporl_cli.serving.requests import Asked
from maporl_cli.worker.final_model import open_final_model
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.session import Session, refuse_unknown_words

Reply = dict[str, Any] | list[dict[str, Any]]
"""What a request is answered with: an object, or a list where it was one."""


class ServedTeam:
    """A team whose agents take their likeliest words, so that nobody's answer depends on who else asks.

    Attributes:
        most: questions that travel through the graph at once (`eval.batch_size`).
        graph_runs: how often they did so far.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.most = session.config.eval.batch_size
        self.graph_runs = 0

    def refuse(self, asked: Asked) -> None:
        """Refuses what needs no graph to be refused.

        Raises:
            DataError: tiny policies have no words for a question.
        """
        refuse_unknown_words(self._session, asked.questions)

    def answer(self, requests: Sequence[Asked]) -> list[Reply | Exception]:
        """The reply to each request, or the error that it ended in: nobody shares another one's.

        Where something fails, it is looked for by halves.
        """
        try:
            return self._together(requests)
        except Exception as error:  # noqa: BLE001 whose it is shows once they are asked apart
            if len(requests) == 1:
                _let_go(error)
                return [error]
        half = len(requests) // 2
        return [*self.answer(requests[:half]), *self.answer(requests[half:])]

    def _together(self, requests: Sequence[Asked]) -> list[Reply | Exception]:
        questions = [question for one in requests for question in one.questions]
        played: list[Episode] = []
        for start in range(0, len(questions), self.most):
            played += self._played(questions[start : start + self.most])
        episodes = iter(played)
        return [_reply(asked, list(islice(episodes, len(asked.questions)))) for asked in requests]

    def _played(self, questions: Sequence[Question]) -> list[Episode]:
        """The finished episodes of questions that travel at once; or by halves, where memory is too short.

        Raises:
            OutOfMemory: it is too short for one of them alone.
        """
        episodes = [Episode(question, sample=0, step=0) for question in questions]
        self.graph_runs += 1
        try:
            self._session.team.play(episodes, Greedy())
        except OutOfMemory:
            if len(questions) == 1:
                raise
        else:
            return episodes
        # Not while the error is handled, which holds what filled the memory.
        half = len(questions) // 2
        return [*self._played(questions[:half]), *self._played(questions[half:])]


def open_team(home: RunDir, display: Display) -> ServedTeam:
    """The team of a finished run, or of a folder that is laid out like one.

    Raises:
        ConfigError, MissingError: as `open_final_model`.
    """
    return ServedTeam(open_final_model(home, Narrator(display)))


def _let_go(error: BaseException) -> None:
    """Gives back what the error's traceback holds, such as keys and values: others are still to be played."""
    cause: BaseException | None = error
    while cause is not None:
        clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def _reply(asked: Asked, episodes: Sequence[Episode]) -> Reply:
    told = [{"id": name} | answered(episode) for name, episode in zip(asked.ids, episodes, strict=True)]
    return told if asked.is_list else told[0]
