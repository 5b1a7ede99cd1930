"""Reading the answer out of a report: strictly, so that hedging and dumping letters read as no answer."""

from __future__ import annotations

import re
from collections.abc import Callable

from maporl_cli.core.types import Question

Reader = Callable[[Question, str], str | None]
"""Reads the answer that a report commits to: a letter or free text, or None where there is none."""

Writer = Callable[[Question, str], str]
"""Writes a report that commits to the option of a letter and says nothing else: what a `Reader` reads."""

# A confidence, "85", "(85%)", "(about 85 % sure)", "(I'd say 85%)", or citations, "[e1] [2]", may stand
# between a letter and what follows it.
_GAP = r"[^\S\n]*+"
_SHARE = rf"\d{{1,3}}{_GAP}%?(?:{_GAP}(?:sure|certain|confident|confidence|certainty))?{_GAP}"
_SURE = (
    rf"(?:\((?:[a-z'’]{{2,12}}:?\s|~){{0,4}}+{_SHARE}\)"
    rf"|\(?(?:(?:about|around|roughly|nearly|confidence:?|~){_GAP})?{_SHARE}\)?)"
)
_CITED = rf"(?:\[[^\[\]\n]{{1,80}}\]{_GAP}){{0,9}}"
# "Answer: C", "answer is (C)", "Answer - option C", "Answer: C 85%", "Answer: C [e1] – nifedipine". The
# letter must stand alone: not the article in "answer is A rare …" or "Answer: A 45-year-old …", hence
# only punctuation, a spaced dash, a line end or a word that goes on from a letter may follow.
_ALONE = (
    rf"(?={_GAP}{_CITED}{_SURE}?{_GAP}(?:[.,;:)](?!\w)|\([A-Z]\)|[-–—]{{1,2}}\s|[/&\n]|$"
    r"|(?:or|and|with|as|because|since|although|which|due)\b))"
)
_STATED = re.compile(
    rf"\banswer\b(?:\s++is)?+\s*+[:\-]?+\s*+(?:option\s+)?(?:\(([A-Z])\)|([A-Z]){_ALONE})", re.IGNORECASE
)
# What follows a letter that is stated as one of several: "A, B", "(A) or (B)", "A (50%), or B (50%)",
# "A with B as an alternative", "A or something else".
_ANOTHER = re.compile(
    rf"\)?\s*+{_CITED}{_SURE}?\s*+(?:(?:or|and)\b|(?:[,;/&–—-]{{1,2}}\s*+)?"
    r"(?:(?:or|and|with|maybe|perhaps|possibly|alternatively|also|else|as well as),?\s++){0,3}+"
    r"(?:option\s+)?(?:\([A-Z]\)|\b[A-Z](?=\s*+(?:[.,;:()/]|$|(?:or|and|as)\b|\(?\d{1,3}\s*+%))))",
    re.IGNORECASE,
)
# Said after the answer, this is a second one; before it, a thought on the way.
_TENTATIVE = re.compile(
    r"\b(?:answer\b\s++(?:might|may|could|can)\s++(?:also\s++|well\s++)?be|alternatively,?)\s++(?:option\s++)?"
    rf"(?:\(([A-Z])\)|([A-Z]){_ALONE})",
    re.IGNORECASE,
)
_PARENTHESISED = {True: re.compile(r"\(([a-z])\)"), False: re.compile(r"\(([A-Z])\)")}
_LEADING = {
    True: re.compile(r"^\s*([a-z])\s*(?:[.):]|$)"),
    False: re.compile(r"^\s*([A-Z])\s*(?:[.):]|$)"),
}
"""By whether the options have lower-case letters: elsewhere "(c)" is an item of a list, "a" an article."""
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
    the same level, a second one offered beside it or after it ("or E", "E as an alternative",
    "the answer might be E"), or a letter that is no option, is no answer.

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
    if found:
        found += _TENTATIVE.finditer(report, found[-1].end())
    small = all(key.islower() for key in question.options)
    stated = {(match[1] or match[2]).upper() for match in found}
    for letters in (
        stated,
        set(_PARENTHESISED[small].findall(report)),
        set(_LEADING[small].findall(report)),
    ):
        if letters:
            return _option(question, letters.pop()) if len(letters) == 1 else None
    return None


def _option(question: Question, letter: str) -> str | None:
    """The key that a letter names: in either case, where the keys do not differ by that alone."""
    keys = [key for key in question.options if key.upper() == letter.upper()]
    return keys[0] if len(keys) == 1 else None


def read_quoted_answer(question: Question, report: str) -> str | None:
    """As `read_answer`, of a report that must repeat the option it ticks: "answer aspirin (C)".

    A report that names one treatment and another's letter contradicts itself, so it is no answer.
    """
    letter = read_answer(question, report)
    if letter is None or not question.options:
        return letter
    return letter if f"{question.options[letter]} ({letter})" in report else None


def is_correct(question: Question, answer: str | None) -> bool:
    """Whether `answer` is the gold one; free text is compared without case and spacing.

    Raises:
        ValueError: the question has no gold answer, and so no answer is right or wrong.
    """
    if not question.has_gold:
        raise ValueError(f"question {question.id} has no gold answer to compare with")
    if answer is None:
        return False
    if question.options:
        return answer == question.answer
    return " ".join(answer.casefold().split()) == " ".join(question.answer.casefold().split())
