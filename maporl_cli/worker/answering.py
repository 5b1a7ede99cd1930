"""Who is asked in published formats: the model of the agent whose report is a team's answer, alone."""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.agents.build import cold_starts_of
from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, DataError
from maporl_cli.core.types import Question


def answering_alone(config: Config, questions: Sequence[Question], option: str, *, served: bool) -> Config:
    """The config of the team's last agent as a team of its own.

    Args:
        option: what asks for it.
        served: a server speaks in its place.

    Raises:
        DataError: a question has no letters.
        ConfigError: the agent's model has no words for the prompt.
    """
    for question in questions:
        if not question.options:
            raise DataError(
                "A question without options has no letters to choose from.",
                where=f"question {question.id}",
                fix=f"leave out {option}, and its answer is read from what the team says",
            )
    team = config.team.model_copy(update={"agents": config.team.agents[-1:], "max_rounds_per_episode": 1})
    alone = config.model_copy(update={"team": team})
    if not served and cold_starts_of(alone) is not None:
        raise ConfigError(
            "A tiny policy cannot be asked in a published format.",
            where=option,
            why=f"it knows no words but those of {config.data.train}, and the format has others",
            fix=f"ask a pretrained model (--preset smollm2, or a --run of one), or leave out {option}",
        )
    return alone
