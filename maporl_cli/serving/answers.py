"""An answered question as JSON: what a program is told, be it by `maporl ask` or by an endpoint."""

from __future__ import annotations

from typing import Any

from maporl_cli.core.types import Episode
from maporl_cli.rewards.claims import cited
from maporl_cli.rewards.risk import assess, with_disclaimer
from maporl_cli.rewards.safety import report_of
from maporl_cli.rewards.stated import DISCLAIMER, confidence


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
