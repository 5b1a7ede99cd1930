"""Sentences and words, and which sentences say something.

A list of the right words is no statement. What a turn is paid for has to stand in a sentence with a
verb, and an enumeration counts for its first two items only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from lemminflect import getAllLemmas

READ = 20_000
"""Characters of a turn that are read: what a long one repeats after them cannot earn anything."""

_SHORTEST = 3
_ITEMS, _LIST, _LONGEST_ITEM = 2, 5, 5
_LONG, _HELD = 8, 0.15
"""From so many words on, more than this share must be function words, which hold a statement together."""

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?")
_MARK_OR_WORD = re.compile(rf"(?P<mark>[,:()–—])|{_WORD.pattern}")
_END = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*+(?=\s|$)|\n++|;")
_ABBREVIATED = 8
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|dr|mr|mrs|approx|fig)$", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"(?:0,\d+|\d+,(?:\d\d?|\d{4,}))(?!\d)")
_LONGEST_WORD = 40
"""Letters of the longest word that is remembered; nobody spells a longer one in two ways."""
_BRITISH = tuple(
    (re.compile(british), american)
    for british, american in (
        ("haem", "hem"), ("aemi", "emi"), ("oedem", "edem"), ("oesoph", "esoph"), ("oestr", "estr"),
        ("rrhoe", "rrhe"), ("pnoe", "pne"), ("paed", "ped"), ("gynaec", "gynec"), ("anaesth", "anesth"),
        ("caesar", "cesar"), ("faec", "fec"), ("^foet", "fet"), ("coeli", "celi"), ("phaeo", "pheo"),
        ("aetiol", "etiol"), ("caec", "cec"), ("leuco", "leuko"), ("paeni", "peni"),
        ("naev", "nev"), ("manoeuvre", "maneuver"), ("sulph", "sulf"),
        ("^(tum|lab|od|behavi|col|fav)our", r"\1or"), ("^(lit|fib|cent)re(?=s?$)", r"\1er"),
        ("(?<=[aeiou]l)is(?=(?:e[ds]?|ing)$)", "iz"), ("isation", "ization"), ("^paralys(?=e)", "paralyz"),
    )
)  # fmt: skip
"""British spellings of medicine, and how the tables and dictionaries write them."""

_AUXILIARIES = frozenset(
    "am is are was were has have had do does did can could may might must shall should will would "
    "cannot isn't aren't wasn't weren't hasn't haven't hadn't don't doesn't didn't can't couldn't "
    "shouldn't won't wouldn't it's that's there's".split()
)
ORDERS = frozenset(
    "start give avoid use perform order obtain administer stop begin consider check treat refer admit "
    "call continue withhold discontinue do don't let seek prescribe take choose exclude monitor "
    "measure send proceed reassure offer place add repeat tell ask disclose report".split()
)
FUNCTION_WORDS = frozenset(
    "a an the this that these those it its he she they them his her their we our you your i my which "
    "who whom what where when while as at by for from in into of on onto over than to with without "
    "within and or but nor so because since although though if unless until after before during "
    "between among against about not no more most less least very also only too both each any all "
    "some such there here then thus therefore hence however be been being am is are was were has have "
    "had do does did can could may might must shall should will would whether every per among off up "
    "down out again still".split()
)
"""Words that hold a sentence together and name nothing."""
_SUBJECTS = frozenset("i you he she it they we who which that this these those".split())
_OBJECTS = FUNCTION_WORDS - {"of", "and", "or"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a text.

    Attributes:
        text: as written, without what ends it.
        words: lower case, in order.
        breaks: before which words a comma, colon, bracket or dash stands.
        listed: which words are items of an enumeration after its second item.
        verbs: which words are finite verbs, or begin an order.
    """

    text: str
    words: tuple[str, ...]
    breaks: frozenset[int]
    listed: frozenset[int]
    verbs: frozenset[int]

    @property
    def says(self) -> bool:
        """Whether it states something: a list of words without a verb does not."""
        return bool(self.verbs)


def words_of(text: str) -> tuple[str, ...]:
    """The words and numbers of a text, in lower case and one spelling: `1,000` is `1000`, `5,8` is `5.8`."""
    return tuple(map(_plain, _WORD.findall(text.lower())))


def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of the first `READ` characters."""
    return _sentences(text[:READ])  # cut before it is remembered: of a megabyte no key is kept


@lru_cache(maxsize=8192)
def _sentences(text: str) -> tuple[Sentence, ...]:
    found: list[Sentence] = []
    start = 0
    for match in _END.finditer(text):
        before = text[max(start, match.start() - _ABBREVIATED) : match.start()]
        if match.group().startswith(".") and _ABBREVIATION.search(before):
            continue
        found += _sentence(text[start : match.start()])
        start = match.end()
    return tuple(found + _sentence(text[start:]))


def last_sentence(text: str) -> str:
    """What a question asks for in the end; nothing where there are no words."""
    found = sentences(text)
    return found[-1].text if found else ""


def _sentence(text: str) -> list[Sentence]:
    words: list[str] = []
    breaks: set[int] = set()
    for match in _MARK_OR_WORD.finditer(text.lower()):
        if match.lastgroup == "mark":
            breaks.add(len(words))
        else:
            words.append(_plain(match.group()))
    if not words:
        return []
    told = tuple(words)
    between = frozenset(breaks)
    return [Sentence(text.strip(), told, between, _listed(told, between), _verbs(told))]


def _plain(word: str) -> str:
    return _spelled(word) if len(word) <= _LONGEST_WORD else word.replace("’", "'").replace(",", "")


@lru_cache(maxsize=65536)
def _spelled(word: str) -> str:
    if _DECIMAL_COMMA.fullmatch(word):
        return word.replace(",", ".")
    word = word.replace("’", "'").replace(",", "")
    for british, american in _BRITISH:
        word = british.sub(american, word)
    return word


def _listed(words: tuple[str, ...], breaks: frozenset[int]) -> frozenset[int]:
    """Words in short items without a function word, from the third in a row on; all of a long row."""
    bounds = [*sorted({0, *breaks}), len(words)]
    listed: set[int] = set()
    row: list[tuple[int, int]] = []
    for start, end in pairwise(bounds):
        item = words[start:end]
        bare = item[1:] if item and item[0] in ("and", "or") else item
        short = len(bare) <= _LONGEST_ITEM and FUNCTION_WORDS.isdisjoint(set(bare) - {"and", "or"})
        row = [*row, (start, end)] if short else []
        # Two items are left out of the row: what led in to it ends in one, and "Y and Z" are two.
        items = len(row) + (bool(row) and row[0][0] > 0) + ("and" in bare or "or" in bare)
        for begin, stop in row[_ITEMS:] if items < _LIST else row:
            listed.update(range(begin, stop))
    return frozenset(listed)


def _verbs(words: tuple[str, ...]) -> frozenset[int]:
    """The verbs; none of what is too short, or has too few function words, to be a sentence."""
    if len(words) < _SHORTEST:
        return frozenset()
    spoken = [word for word in words if len(word) > 1 and not word[0].isdigit()]
    held = sum(word in FUNCTION_WORDS for word in spoken)
    if len(spoken) >= _LONG and held <= _HELD * len(spoken):
        return frozenset()
    verbs = {index for index in range(len(words)) if is_verb_at(words, index)}
    return frozenset(verbs | {0} if words[0] in ORDERS else verbs)


def is_verb_at(words: tuple[str, ...], index: int) -> bool:
    """Whether a finite verb stands there; without an auxiliary it cannot be the first word."""
    word = words[index]
    if word in _AUXILIARIES:
        return True
    following = words[index + 1] if index + 1 < len(words) else ""
    return index > 0 and _is_verb(words[index - 1], word, following)


def _is_verb(before: str, word: str, following: str) -> bool:
    """Whether a word is a finite verb; what may also be a noun needs a pronoun before it or an object."""
    reading = _reading(word)
    if reading != "either":
        return reading == "verb"
    return before in _SUBJECTS or (following in _OBJECTS and before not in ("a", "an", "the"))


@lru_cache(maxsize=16384)
def is_plain_verb(word: str) -> bool:
    """Whether a word may be a verb as it stands in an order: "pass", "record"."""
    return word in getAllLemmas(word).get("VERB", ())


@lru_cache(maxsize=65536)
def may_qualify(word: str) -> bool:
    """Whether the word may be an adjective, or is one that no dictionary has."""
    kinds = getAllLemmas(word)
    return not kinds or "ADJ" in kinds


@lru_cache(maxsize=65536)
def _reading(word: str) -> str:
    if word.endswith("ing") or not word.isalpha():
        return "none"
    kinds = getAllLemmas(word)
    if "VERB" not in kinds:
        return "none"
    return "either" if "NOUN" in kinds or "ADJ" in kinds else "verb"
