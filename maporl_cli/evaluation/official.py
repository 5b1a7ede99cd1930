"""Reading an answer as MedXpertQA's published evaluation does, so that figures compare with the literature.

Behaves as the authors' `answer_cleansing` for zero-shot questions with one right letter (Zuo et al. 2025,
arXiv 2501.18362): what follows the trigger, or else " answer is ", or else all of the text, up to where the
same is said again; in it the first letter of an option that stands alone, in upper case only. Thus "A
45-year-old …" and "I think" are read as A and I, and an answer in lower case as none: `agents.answers` is the
strict reader.
"""

from __future__ import annotations

import re

from maporl_cli.core.types import Question

TRIGGER = "Therefore, among {first} through {last}, the answer is"
"""What the published prompt ends with, and its replies are looked for."""
_UNWANTED = ("I understand", "A through J", "A through E", "A through D")
"""What replies say without meaning a letter, in their order of removal."""


def trigger(question: Question) -> str:
    """The trigger for the letters of a question."""
    letters = list(question.options)
    return TRIGGER.format(first=letters[0], last=letters[-1])


def official_answer(question: Question, reply: str) -> str | None:
    """The letter that the published evaluation would read out of `reply`; None where it finds none.

    Raises:
        ValueError: the question has no options.
    """
    if not question.options:
        raise ValueError(f"question {question.id} has no options to read a letter of")
    text = reply.strip()
    for mark in (trigger(question), " answer is "):
        pieces = text.split(mark)
        if len(pieces) > 1:
            text = pieces[1].strip()
            break
    for phrase in _UNWANTED:
        text = text.replace(phrase, "")
    found = re.search(rf"\b({'|'.join(map(re.escape, question.options))})\b", text)
    return None if found is None else found[1]
