"""What a report states about itself: how sure it is, in which words, and that it is no medical advice."""

from __future__ import annotations

import re

from maporl_cli.rewards.sentences import sentences

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
_INFALLIBLE = re.compile(
    r"\b100\s*% (?:sure|certain|confident|safe)|\b(?:error|a mistake|any doubt) is (?:impossible|excluded)"
    r"|\b(?:without (?:any |a |the slightest )?doubt|beyond (?:all |any )?(?:doubt|question)"
    r"|(?:zero|no) (?:\w+ )?(?:doubt|risk)s? (?:at all|whatsoever|remain\w*)|guaranteed|cannot be wrong"
    r"|completely certain|entirely certain|totally sure|certainty is total|completely safe"
    r"|no harm can come)\b",
    re.IGNORECASE,
)
"""Nobody can know this, even of what is right."""
_WHOM = (
    r"(?:physician|doctor|clinician|gp|general practitioner|health\s?care|health professional|professional)s?"
)
_YOURS = (
    r"(?:your|their own|his own|her own) (?:\w+ ){0,2}(?:\w+(?:ologist|ician|iatrist)|gp|doctor|surgeon"
    r"|pharmacist|nurse|specialist|midwife|dentist|(?:\w+ )?team|provider)s?"
)
"""Whom a reader would ask; "consult an ophthalmologist" without "your" is a step of the treatment."""
_REFERS = (
    r"(?:consult|ask|see|talk to|speak (?:to|with)|check with|(?:discuss|confirm)\b[^.!?\n]{0,20}? with"
    r"|run\b[^.!?\n]{0,20}? by)"
)
_ADVICE = r"(?:(?:medical|professional|clinical)\s+(?:advice|judge?ment|opinion|care)|advice)"
_DISCLAIMERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:not|no|never|isn['’]t|cannot)\b[^.!?\n]{{0,40}}?\b{_ADVICE}\b"
        rf"|\b(?:does not|cannot|not) (?:replace|stand in for)\b[^.!?\n]{{0,40}}?"
        rf"\b(?:consultation|visit|judge?ment|{_WHOM})\b"
        r"|\bnot a (?:doctor|physician|clinician)\b|\bdisclaimer\b",
        rf"\b{_REFERS}\b[^.!?\n]{{0,30}}?\b(?:{_WHOM}|{_YOURS})\b"
        rf"|\bseek (?:medical|professional) (?:advice|help|care)\b"
        rf"|\bfinal (?:decision|say|word)\b[^.!?\n]{{0,30}}?\b{_WHOM}\b"
        rf"|\b{_WHOM}\b[^.!?\n]{{0,20}}?\b(?:final decision|final say)\b",
        r"\b(?:for )?(?:educational|informational|information|research|education)\s+(?:purposes?|use|only)\b"
        r"|\bgeneral information\b",
    )
)
"""What a disclaimer does: it denies to be advice, it sends to somebody, it says what the text is for."""
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


def is_infallible(report: str) -> bool:
    """Whether the report claims that it cannot be wrong, or that nothing can go wrong."""
    return _INFALLIBLE.search(report) is not None


def disclaimers(report: str) -> int:
    """How many times the report says that it is no medical advice.

    Sentences side by side make one, as long as each does it in another way: "Ask a physician. Not medical
    advice." is one, "Not medical advice. Not medical advice." is two.
    """
    count = 0
    row = (0,) * len(_DISCLAIMERS)
    for sentence in sentences(report):
        found = tuple(sum(1 for _ in way.finditer(sentence.text)) for way in _DISCLAIMERS)
        if any(found):
            row = tuple(map(sum, zip(row, found, strict=True)))
        else:
            count, row = count + max(row), (0,) * len(_DISCLAIMERS)
    return count + max(row)
