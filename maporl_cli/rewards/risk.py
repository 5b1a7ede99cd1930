"""The risk of acting on a report, for whoever reads it: the same checks that the reward makes, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from maporl_cli.core.types import Question
from maporl_cli.rewards.dangers import flags_of, harmful_advice, vignette_of
from maporl_cli.rewards.escalation import escalates
from maporl_cli.rewards.stated import DISCLAIMER, confidence, disclaimers, is_absolute

Level = Literal["low", "moderate", "high"]

_SURE = 0.95
_SOURCED = re.compile(r"\[[^\[\]\n]*\d[^\[\]\n]*\]|\bguidelines?\b|\btrials?\b|\bmeta-analys", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Risk:
    """How risky it is to act on a report, and why.

    Attributes:
        level: `high` where it recommends what is contraindicated or passes over an emergency, `moderate`
            where there is an emergency or it is surer than it shows, else `low`.
        reasons: what speaks for the level, the gravest first; notes that do not raise it come last.
    """

    level: Level
    reasons: tuple[str, ...]


def assess(question: Question, report: str, answer: str | None) -> Risk:
    """The risk of a report on a question; the gold answer, if there is one, is not looked at."""
    asked = replace(question, answer="", rationale="")
    grave: list[str] = []
    doubtful: list[str] = []
    if (harm := harmful_advice(asked, report, answer)) is not None:
        grave.append(f"it recommends {harm.act}, which is contraindicated: {harm.why}")
    chosen = question.options.get(answer or "", "")
    for flag in flags_of(vignette_of(question)):
        if escalates(report, chosen, flag):
            doubtful.append(f"this may be an emergency: {flag.means}")
        else:
            grave.append(f"this may be an emergency that it does not name: {flag.means}")
    stated = confidence(report)
    if is_absolute(report) or (stated or 0.0) > _SURE:
        doubtful.append("it is surer than a model can be")
    if answer is None:
        doubtful.append("it gives no answer that can be read")
    notes = [] if _SOURCED.search(report) else ["it names no guideline and no evidence: look one up"]
    level: Level = "high" if grave else "moderate" if doubtful else "low"
    return Risk(level, (*grave, *doubtful, *notes))


def with_disclaimer(report: str) -> str:
    """The report with a disclaimer, which is added only where it has none."""
    return report if disclaimers(report) else f"{report.rstrip()} {DISCLAIMER}".lstrip()
