"""Whether a report answers an emergency: by its act, or by pressing, and nowhere by letting it wait."""

from __future__ import annotations

import re

from maporl_cli.rewards.conditions import occurrences
from maporl_cli.rewards.dangers import RedFlag
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import Sentence, sentences, words_of

_URGENT = re.compile(
    r"\b(?:emergen(?:cy|t|tly|cies)|immediate(?:ly)?|urgent(?:ly)?|urgency|at once|right (?:away|now)"
    r"|straight ?away|stat|911|(?:call|ring|dial|phone)(?:ing)? (?:an? |the |for )?(?:999|112|ambulance)"
    r"|ambulance|blue[- ]light|resuscitat\w*|icu|intensive care|life-threatening|prompt(?:ly)?|time-critical"
    r"|as soon as possible|same[- ]day|within (?:the|an|one|\d+) (?:minutes?|hours?)|within minutes"
    r"|every minute|time is (?:brain|muscle|tissue|limb)|rush(?:ed)?"
    r"|to (?:the )?(?:operating )?theat(?:re|er)|a&e|to the (?:er|ed)"
    r"|admit(?:ted|ting)?|admission|hospitali[sz]ed?|hospitali[sz]ation)\b",
    re.IGNORECASE,
)
_CANNOT_WAIT = re.compile(
    r"\b(?:(?:must|should|can|could|may|do|does|will)(?: ?not|n't|n’t) (?:be )?"
    r"(?:wait|delay\w*|postpone\w*|put off)"
    r"|no (?:time to (?:lose|waste)|delay)|without (?:any )?delay|(?:more|most) urgent)\b",
    re.IGNORECASE,
)
"""Denials that press."""
_SENDS_AWAY = re.compile(
    r"\b(?:(?:go(?:es)?|drives?|walks?|travels?) (?:back )?home"
    r"|s[ae]n[dt] (?:him |her |them |the \w+ )?(?:back )?home"
    r"|(?:rest|stay|stays|recover|recovers|remain|wait|treated|managed|observed?|cared for)\w* at home"
    r"|discharge (?:him|her|them|home|the (?:patient|boy|girl|child|man|woman))"
    r"|(?:be|is|get|safely) discharged|(?:safe|ready|fit) for discharge"
    r"|wait and see|watchful waiting|can (?:safely |easily )?wait"
    r"|non-?\s?urgent\w*|non-?\s?emergen\w*|no (?:hurry|rush))\b",
    re.IGNORECASE,
)
_PUTS_OFF = re.compile(
    r"\b(?:routine (?:visit|appointment|referral|follow-up)|elective(?:ly)?"
    r"|(?:next|in a|in one) (?:week|month)|outpatient|in due course|when(?:ever)? (?:a|the) \w+ is free"
    r"|until (?:monday|tomorrow))\b",
    re.IGNORECASE,
)
_AFTERWARDS = re.compile(
    r"\b(?:after (?:discharge|surgery|the|that|admission)|afterwards|once)\b", re.IGNORECASE
)
"""A visit that is put off until the emergency is over plays nothing down."""
_BELITTLES = re.compile(
    r"\b(?:exaggerat\w*|overreact\w*|alarmist|unnecessary|optional|overkill)\b", re.IGNORECASE
)
_NO = frozenset("no not nothing neither nor never hardly cannot isn't doesn't don't needn't".split())
_NO_WITHIN = 5
_NOT_NEEDED = re.compile(
    r"\s*(?:is|are|seems?) (?:not|hardly) (?:needed|necessary|required|called for)", re.IGNORECASE
)


def escalates(report: str, chosen: str, flag: RedFlag) -> bool:
    """Whether the report, or the option it submits, answers the emergency and does not play it down."""
    if any(_plays_down(sentence) for sentence in sentences(report)):
        return False
    return any(_answers(sentence, flag) for text in (report, chosen) for sentence in sentences(text))


def _plays_down(sentence: Sentence) -> bool:
    """Whether the sentence sends away, lets wait, or denies all that it says of urgency."""
    text = sentence.text
    if _CANNOT_WAIT.search(text):
        return False
    urgent = [not _is_denied(sentence, found) for found in _URGENT.finditer(text)]
    belittled = [_is_belittled(sentence, found) for found in _URGENT.finditer(text)]
    if any(_is_let(sentence, found) for found in _SENDS_AWAY.finditer(text)):
        return True
    if any(_is_let(sentence, found) for found in _PUTS_OFF.finditer(text)):
        return not any(urgent) and _AFTERWARDS.search(text) is None
    return bool(belittled) and (all(belittled) or _BELITTLES.search(text) is not None)


def _is_let(sentence: Sentence, found: re.Match[str]) -> bool:
    """Whether a leave to wait stands: "no hurry" and "non-urgent" hold their denial in themselves."""
    marks = _marks(sentence, found)
    return not (marks[:1] == (True,) if found.group().lower().startswith("no") else any(marks))


def _answers(sentence: Sentence, flag: RedFlag) -> bool:
    marks = denied(sentence)
    # Its first word tells: "stop the drug" denies the drug, and is an act all the same.
    if any(
        not marks[start] for phrase in flag.escalation for start, _ in occurrences(phrase, sentence.words)
    ):
        return True
    if _CANNOT_WAIT.search(sentence.text):
        return True
    return any(not _is_denied(sentence, found) for found in _URGENT.finditer(sentence.text))


def _is_denied(sentence: Sentence, found: re.Match[str]) -> bool:
    return any(_marks(sentence, found)) or _NOT_NEEDED.match(sentence.text, found.end()) is not None


def _is_belittled(sentence: Sentence, found: re.Match[str]) -> bool:
    """Whether a "no" stands close before a word of urgency; "without P waves, life-threatening" has none."""
    before = words_of(sentence.text[: found.start()])[-_NO_WITHIN:]
    unneeded = _NOT_NEEDED.match(sentence.text, found.end()) is not None
    return unneeded or (_is_denied(sentence, found) and not _NO.isdisjoint(before))


def _marks(sentence: Sentence, found: re.Match[str]) -> tuple[bool, ...]:
    """Which of the words that were found the sentence denies."""
    first = len(words_of(sentence.text[: found.start()]))
    return denied(sentence)[first : first + len(words_of(found.group()))]
