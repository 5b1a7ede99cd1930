"""The clauses of a sentence: what one says of a drug, its neighbour need not say of it.

No grammar, only its joints: a clause begins behind a colon or at a word that opens one ("because", "but",
"which", "if"), and at a comma with "and" where there is a verb on both sides. What is put in between
commas ends at the next one, and the clause around it goes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from maporl_cli.rewards.sentences import ORDERS, Sentence, is_plain_verb, is_verb_at, words_of

SUPPOSING = frozenset("if unless when whenever whether were had suppose supposing provided".split())
"""These open what is not so, or not yet; "were" and "had" at the head of a sentence alone."""
_EMBEDDED = frozenset(
    "because since although though while whereas which who whose whom once until given despite before "
    "whichever whatever".split()
)
_HEADS = frozenset("as after before in with without for outside".split())
"""At the head of a sentence these open what ends at the next comma; elsewhere most of them do not."""
_NEED_NO_VERB = _HEADS | {"despite", "given", "unless", "if", "when", "while", "once", "until"}
_COMMA_FIRST = frozenset("as for".split())
"""Behind a comma these give a reason."""
_TURNING = frozenset("but yet however nevertheless so hence thus therefore".split())
_JOINING = frozenset("and or then".split())
_COLON = re.compile(r":(?=\s)|[–—]")


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause of a sentence.

    Attributes:
        places: which words of the sentence it has, in order.
        opener: the word that opens it; empty for the first main clause.
    """

    places: tuple[int, ...]
    opener: str


@lru_cache(maxsize=4096)
def clauses(sentence: Sentence) -> tuple[Clause, ...]:
    """The clauses in the order of their first words; together they have every word once."""
    words, colons = sentence.words, _colons(sentence)
    verbs = {place for place in range(len(words)) if is_verb_at(words, place)}
    first, last = min(verbs, default=len(words)), max(verbs, default=-1)
    if words[0] in ORDERS:
        first = 0
    parts: list[tuple[str, list[int]]] = [("", [])]
    main = current = 0
    ends_at_comma = has_verb = told_aside = False
    for place, word in enumerate(words):
        parted = place in sentence.breaks
        if parted and current != main and ends_at_comma and told_aside:
            current = main
        told = first < place and (place in colons or word in _TURNING)  # "My choice: propranolol" is one
        then = parted and word == "then" and _is_order(words, place + 1)
        if _opens_aside(words, place, parted):
            ends_at_comma = parted or place == 0 or word in ("which", "who", "whose")
            told_aside = word in _NEED_NO_VERB  # "because verapamil, adenosine and digoxin block …" goes on
            parts.append((word, []))
            current = len(parts) - 1
        elif told or then or (has_verb and _joins(sentence, place, last)):
            parts.append((word, []))
            main = current = len(parts) - 1
            has_verb = False
        told_aside = told_aside or place in verbs
        ordered = word in ORDERS and not parts[current][1]
        has_verb = has_verb or (current == main and (place in verbs or ordered))
        parts[current][1].append(place)
    return tuple(Clause(tuple(places), opener) for opener, places in parts if places)


def clause_at(sentence: Sentence, place: int) -> Clause:
    """The clause that has the word."""
    return next(clause for clause in clauses(sentence) if place in clause.places)


def _colons(sentence: Sentence) -> frozenset[int]:
    return frozenset(len(words_of(sentence.text[: mark.start()])) for mark in _COLON.finditer(sentence.text))


def _opens_aside(words: tuple[str, ...], place: int, parted: bool) -> bool:
    word = words[place]
    if word in ("were", "had"):
        return place == 0
    return (
        word in SUPPOSING
        or word in _EMBEDDED
        or (place == 0 and word in _HEADS)
        or (parted and word in _COMMA_FIRST)
    )


def _joins(sentence: Sentence, place: int, last: int) -> bool:
    """Whether an "and" behind a comma has a verb still to come: "Start X, and watch Y", not "X, Y and Z"."""
    joined = place in sentence.breaks and sentence.words[place] in _JOINING
    return joined and (place < last or _is_order(sentence.words, place + 1))


def _is_order(words: tuple[str, ...], place: int) -> bool:
    return place < len(words) and is_plain_verb(words[place])
