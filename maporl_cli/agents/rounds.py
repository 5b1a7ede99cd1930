"""When a team may stop talking: the answer has settled and no safety flag is up.

Both are read from the turns themselves, so that an episode on disk tells why it went on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from maporl_cli.agents.answers import Reader, read_answer
from maporl_cli.core.types import Question, Turn

_RAISED = re.compile(r"\bsafety flag\s*:(?!\s*(?:none|no)\b)", re.IGNORECASE)
_ANSWERED = re.compile(r"\bflag answered\s*:", re.IGNORECASE)


def flags_up(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns whose safety flag no later turn has answered, oldest first."""
    raised: list[Turn] = []
    for turn in turns:
        if _ANSWERED.search(turn.text):
            raised.clear()
        if _RAISED.search(turn.text):
            raised.append(turn)
    return tuple(raised)


def has_settled(question: Question, turns: Sequence[Turn], reporter: str, read: Reader = read_answer) -> bool:
    """Whether the team needs no further round after these `turns`.

    It needs none when the last report has a readable answer, no safety flag is up, and the
    answer either meets no dissent in its round (no teammate's turn names another option) or
    repeats the previous round's report.
    """
    reports = [turn for turn in turns if turn.agent == reporter]
    answer = read(question, reports[-1].text)
    if answer is None or flags_up(turns):
        return False
    if len(reports) > 1 and read(question, reports[-2].text) == answer:
        return True
    others = (turn for turn in turns if turn.round == reports[-1].round and turn.agent != reporter)
    stances = (read(question, turn.text) if question.options else None for turn in others)
    return all(stance in (None, answer) for stance in stances)
