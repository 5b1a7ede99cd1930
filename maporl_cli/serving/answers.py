"""An answered question as JSON: what a program is told, be it by `maporl ask` or by an endpoint."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from maporl_cli.core.harmless import harmless
from maporl_cli.core.types import Episode
from maporl_cli.rewards.claims import cited
from maporl_cli.rewards.risk import Level, assess, with_disclaimer
from maporl_cli.rewards.safety import report_of
from maporl_cli.rewards.stated import DISCLAIMER, confidence
from maporl_cli.serving.requests import Asked

_SHOWN = 60
"""Characters of a field's name in a reason."""


class _Exact(BaseModel):
    """No field more or less, and nothing taken for what it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StatedRisk(_Exact):
    """`risk` of an answer, as `answered` writes it."""

    level: Level
    reasons: list[str]


class Answer(_Exact):
    """An answer to one question of a request: its id, and what `answered` writes."""

    id: str | int
    answer: str | None
    report: str
    confidence: Annotated[float, Field(ge=0, le=1)] | None
    risk: StatedRisk
    disclaimer: str
    evidence: list[str]


def answered(episode: Episode) -> dict[str, Any]:
    """What a finished episode answers, and how far it may be relied on.

    `answer`: a letter, or words where there are no options; null where none can be read. `report`: the last
    turn, with a disclaimer. `confidence`: in [0, 1], as the report states it; null where it states none.
    `risk`: `level` (`low`, `moderate`, `high`) and `reasons`, the gravest first. `evidence`: the ids that any
    turn cites, of the snippets that an agent was shown.
    """
    report = report_of(episode)
    risk = assess(episode.question, report, episode.answer)
    return {
        "answer": episode.answer,
        "report": with_disclaimer(report),
        "confidence": confidence(report),
        "risk": {"level": risk.level, "reasons": list(risk.reasons)},
        "disclaimer": DISCLAIMER,
        "evidence": cited(episode.evidence, "\n".join(turn.text for turn in episode.turns)),
    }


def read_answers(body: bytes, asked: Asked) -> list[Answer]:
    """The answers to the questions of a request, in their order.

    Raises:
        ValueError: it is something else than a team's answers to them; says where, and quotes only names.
    """
    try:
        if asked.is_list:
            answers = TypeAdapter(list[Answer]).validate_json(body)
        else:
            answers = [Answer.model_validate_json(body)]
    except ValidationError as error:
        raise ValueError(_reason(error)) from None
    if len(answers) != len(asked.ids):
        raise ValueError(f"{len(answers)} answers came to {len(asked.ids)} questions")
    for number, (answer, name) in enumerate(zip(answers, asked.ids, strict=True), start=1):
        if answer.id != name:
            raise ValueError(f"answer {number} has another id than question {number}")
    return answers


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong with an answer."""
    told = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if told["type"] == "json_invalid":
        return "it is no JSON that can be read"
    place = ".".join(str(step) for step in told["loc"])
    return harmless(f"{place[:_SHOWN]}: {told['msg']}" if place else told["msg"])
