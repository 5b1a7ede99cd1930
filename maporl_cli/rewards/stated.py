"""What a report states about itself: how sure it is, in which words, and that it is no medical advice."""

from __future__ import annotations

import re

_SURE = re.compile(r"\b(\d{1,3})\s?(?:%|percent) (?:confident|sure|certain)", re.IGNORECASE)
_BEHIND = re.compile(r"\banswer\b[^.\n%]{0,120}?(?:\((\d{1,3})\s?%?\)|\b(\d{1,3})\s?%)", re.IGNORECASE)
_CONFIDENT = re.compile(
    r"\bconfiden\w*\b\W{0,3}(?:is|of|at|level|score|:|=|\s){0,4}\W{0,3}(\d{1,3}(?:\.\d+)?)\b\s*(%?)",
    re.IGNORECASE,
)
_ABSOLUTE = re.compile(
    r"\b(?:always|never|definitely|certainly|absolutely|undoubtedly|unquestionably|guaranteed?|100\s*%"
    r"|without (?:any |a )?doubt|no doubt|beyond doubt|impossible that|cannot be wrong|completely certain"
    r"|entirely certain|totally sure|completely safe|no risk at all|there is no risk)",
    re.IGNORECASE,
)
_DISCLAIMER = re.compile(
    r"\b(?:not|no|never|isn't|isn’t|does not (?:constitute|replace)|cannot replace|no substitute for)\b"
    r"[^.!?\n]{0,40}?\b(?:medical|professional|clinical)\s+(?:advice|judge?ment|opinion|care)"
    r"|\b(?:consult|ask|see|talk to|speak (?:to|with))\b[^.!?\n]{0,30}?\b(?:physician|doctor|clinician"
    r"|health\s?care|professional)\b[^.!?\n]{0,40}"
    r"|\b(?:for )?(?:educational|informational|research)\s+(?:purposes?|use)\b"
    r"|\bdisclaimer\b",
    re.IGNORECASE,
)
DISCLAIMER = "Not medical advice."


def confidence(report: str) -> float | None:
    """The confidence in [0, 1] that a report states of its answer; None where it states none.

    Read are "(85%)", "(85)" and "85%" in the sentence of the answer, "85% sure",
    "confidence: 85%" and "confidence 0.85". Of several the last
    one counts: it stands nearest to the end of what was thought.
    """
    found = [(match.start(), _share(match[1], match[2])) for match in _CONFIDENT.finditer(report)]
    found += [(match.start(), _share(match[1], "%")) for match in _SURE.finditer(report)]
    found += [(match.start(), _share(match[1] or match[2], "%")) for match in _BEHIND.finditer(report)]
    known = [(place, value) for place, value in found if 0.0 <= value <= 1.0]
    return max(known)[1] if known else None


def _share(number: str, percent: str) -> float:
    value = float(number)
    return value / 100 if percent or value > 1 else value


def is_absolute(report: str) -> bool:
    """Whether the report uses words that leave no room for error."""
    return _ABSOLUTE.search(report) is not None


def disclaimers(report: str) -> int:
    """How many times the report says that it is no medical advice."""
    return sum(1 for _ in _DISCLAIMER.finditer(report))
