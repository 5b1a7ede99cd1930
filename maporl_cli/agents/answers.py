"""Reading the answer out of a report: strictly, so that hedging and dumping letters read as no answer."""

from __future__ import annotations

import re
from collections.abc import Callable

from maporl_cli.core.types import Question

Reader = Callable[[Question, str], str | None]
"""Reads the answer that a report commits to: a letter or free text, or None where there is none."""

# "Answer: C", "answer is (C)", "Answer - option C", "Answer: C 85%". The letter must stand alone: not
# the article in "answer is A rare …" or "Answer: A 45-year-old …", hence only punctuation, a line end
# or a confidence may follow.
_ALONE = r"(?=\s*(?:\(?\d{1,3}\s*%?\)?\s*)?(?:[.,;:)](?!\w)|\([A-Z]\)|\n|$))"
_STATED = re.compile(
    rf"\banswer\b(?:\s++is)?+\s*+[:\-]?+\s*+(?:option\s+)?(?:\(([A-Z])\)|([A-Z]){_ALONE})", re.IGNORECASE
)
# What follows a letter that is stated as one of several: "A, B", "(A) or (B)", "A, or B".
_ANOTHER = re.compile(
    r"\)?\s*(?:[,;/&]\s*)?(?:(?:or|and)\s+)?(?:option\s+)?"
    r"(?:\([A-Z]\)|\b[A-Z](?=\s*(?:[.,;:)]|$|or\b|and\b)))",
    re.IGNORECASE,
)
_PARENTHESISED = re.compile(r"\(([A-Z])\)")
_LEADING = re.compile(r"^\s*([A-Z])\s*(?:[.):]|$)")
_FREE_TEXT = re.compile(r"\banswer\s*:\s*(.+)", re.IGNORECASE)
# What a report adds to an answer in words: a confidence, a disclaimer, a full stop. Each character fits
# one branch only and none is given back (`++`), or a disclaimer repeated n times would take 2^n tries; and
# it begins at the first full stop or space of a row, or n of them would be looked at from each.
_ADDED = re.compile(
    r"(?<![.\s])(?:\(\s*\d{1,3}\s*%?\s*\)|[;,](?=\s*not medical advice)|not medical advice|[.\s])++$",
    re.IGNORECASE,
)


def read_answer(question: Question, report: str) -> str | None:
    """The answer that `report` commits to: a letter of `question.options`, or free text.

    A letter counts where it is stated ("Answer: C"), else where exactly one stands in
    parentheses, else where the report opens with it ("C. Aspirin"). Two different letters at
    the same level, or a letter that is no option, is no answer.

    Returns:
        The letter or the text; None where no single answer can be read.
    """
    if not question.options:
        labelled = _FREE_TEXT.search(report)
        text = _ADDED.sub("", labelled.group(1) if labelled else report).strip()
        return text or None
    report = report.replace("*", "")  # bold type
    found = list(_STATED.finditer(report))
    if any(_ANOTHER.match(report, match.end()) for match in found):
        return None
    stated = {(match[1] or match[2]).upper() for match in found}
    for letters in (stated, set(_PARENTHESISED.findall(report)), set(_LEADING.findall(report))):
        if letters:
            letter = next(iter(letters))
            return letter if len(letters) == 1 and letter in question.options else None
    return None


def read_quoted_answer(question: Question, report: str) -> str | None:
    """As `read_answer`, of a report that must repeat the option it ticks: "answer aspirin (C)".

    A report that names one treatment and another's letter contradicts itself, so it is no answer.
    """
    letter = read_answer(question, report)
    if letter is None or not question.options:
        return letter
    return letter if f"{question.options[letter]} ({letter})" in report else None


def is_correct(question: Question, answer: str | None) -> bool:
    """Whether `answer` is the gold one; free text is compared without case and spacing."""
    if answer is None:
        return False
    if question.options:
        return answer == question.answer
    return " ".join(answer.casefold().split()) == " ".join(question.answer.casefold().split())
