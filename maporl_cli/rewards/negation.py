"""Which words of a sentence are denied.

In the way of NegEx (Chapman et al. 2001, "A simple algorithm for identifying negated findings and
diseases in discharge summaries"): what denies reaches over the words after it or before it, up to
where the clause ends. Two that deny each other cancel: "not contraindicated" denies nothing. A "not"
denies what follows; its subject only where what is denied would have spoken for it: "X is not
indicated" and "X does not help" deny X, "X does not impair attention" does not.
"""

from __future__ import annotations

from functools import lru_cache

from maporl_cli.rewards.negation_words import (
    AFTER,
    BE,
    BEFORE,
    CANCEL,
    CLAUSE,
    DENY,
    DUTY,
    FAILS,
    IS,
    IS_NOT,
    KEEP,
    LISTS,
    LOST,
    LOST_WITHOUT,
    MEAN,
    OTHER_THAN,
    REASONS,
    RELATIVE,
    SERVES,
    SPARES,
    STANDS_FOR,
    Phrases,
)
from maporl_cli.rewards.sentences import ORDERS, Sentence
from maporl_cli.rewards.stems import stem

_REACH = 10
_OUT_WITHIN = 6
"""Words behind "leave" up to which its "out" may stand."""
_ITEM = 4
"""Words of an item of an enumeration, at most."""


@lru_cache(maxsize=16384)
def denied(sentence: Sentence, *, as_advice: bool = True) -> tuple[bool, ...]:
    """For each word of the sentence, whether it is denied.

    Args:
        as_advice: "avoid X" and "X is contraindicated" deny X as well, and not only "there is no X".
    """
    words = sentence.words
    marks = [False] * len(words)
    skip = -1
    for index, word in enumerate(words):
        if index <= skip:
            continue
        if word in DENY or (word == "unlikely" and words[index + 1 : index + 2] == ("to",)):
            forbids = index > 0 and words[index - 1] in DUTY
            skip = _not(sentence, index, marks, as_advice) if as_advice or not forbids else index
            continue
        lists, after = _starts(LISTS, words, index), _starts(AFTER, words, index)
        if as_advice and _speaks_against(words, index, marks):
            _mark_back(sentence, index, marks)
        if index == 0 and word == "without" and not LOST_WITHOUT.isdisjoint(words):
            continue
        if lists:
            cancelled = _cancels(words, index + lists - 1)
            if cancelled is not None:
                skip = cancelled  # "no difference", "no reason to withhold"
            else:
                _mark(sentence, index + lists, marks, commas=True, to_verb=_is_in_a_subject(sentence, index))
        elif after and as_advice:
            _deny_after(sentence, index, index + after, marks)
        elif as_advice and word in KEEP and "out" in words[index + 2 : index + _OUT_WITHIN]:
            out = words.index("out", index + 2)
            marks[index + 1 : out] = [True] * (out - index - 1)
        elif as_advice and _prefers(words, index):
            _mark(sentence, index + 1, marks, commas=False)
    return tuple(marks)


def _starts(phrases: Phrases, words: tuple[str, ...], index: int) -> int:
    """How many words the longest of the phrases has that begins here; 0 where none does."""
    for phrase in phrases.get(words[index], ()):
        if words[index : index + len(phrase)] == phrase:
            return len(phrase)
    return 0


def _speaks_against(words: tuple[str, ...], index: int, marks: list[bool]) -> bool:
    """Whether what begins here denies what stands before it."""
    if lost := _starts(LOST, words, index):
        return words[index + lost - 1 : index + lost + 1] != ("go", "to")  # "she has to go to work"
    if marks[index] or words[index - 1 : index] in (("least",), ("less",)):
        return False  # "does not harm", "the least harmful"
    return words[index] in FAILS or (words[index] in BEFORE and _is_said_of(words, index))


def _cancels(words: tuple[str, ...], index: int) -> int | None:
    """Up to where a "no" and what it denies take each other back; None where they do not."""
    following = words[index + 1 : index + 6]
    if not following:
        return None
    if following[0] in CANCEL or (words[index] == "nothing" and following[0] in OTHER_THAN):
        return index + 1
    if following[0] in REASONS and following[1:2] == ("to",):
        for place, word in enumerate(following[2:], start=index + 3):
            if word in CANCEL or word in DENY or word == "against":
                return place
    return None


def _prefers(words: tuple[str, ...], index: int) -> bool:
    """Whether the word sets what follows behind something: "prefer X over Y", "rather X than Y"."""
    if words[index] == "over":
        known = set(
            "prefer prefers preferred favor favors favored choose chosen chose suggest suggests suggested "
            "recommend recommends recommended used".split()
        )
        return not known.isdisjoint(words[max(0, index - 6) : index])
    return words[index] == "than" and "rather" in words[max(0, index - 6) : index - 1]


def _deny_after(sentence: Sentence, index: int, after: int, marks: list[bool]) -> None:
    words = sentence.words
    if _cancels(words, after - 1) is not None:
        return  # "avoid delay"
    ends = after in sentence.breaks or after >= len(words)
    if ends or words[after] in ("and", "before", "with", "than") or words[after] in CLAUSE:
        _mark_back(sentence, index, marks)  # "heparin should stop": nothing follows that could
    else:
        _mark(sentence, after, marks, commas=False)


def _not(sentence: Sentence, index: int, marks: list[bool], as_advice: bool) -> int:
    """Denies what follows, and the subject where it is spoken against; the last word that was used up."""
    words = sentence.words
    if words[index - 1 : index] == ("why",):
        return index  # "why not give X?"
    for place in range(index + 1, min(index + 4, len(words))):
        if place in sentence.breaks:
            break
        if words[place] in CANCEL:
            return place
        if words[place] in OTHER_THAN and words[place - 1] in ("anything", "nothing", "any"):
            return place
    for place in range(index + 1, min(index + 7, len(words))):
        if words[place] == "without":  # "cannot be explained without X"
            return place
    # Of a fact all that it relates is denied: "X did not change Y" is no finding of X with Y.
    if not as_advice or _denies_subject(sentence, index):
        _mark_back(sentence, index, marks)
    _mark(sentence, index + 1, marks, commas=False)
    return index


def _denies_subject(sentence: Sentence, index: int) -> bool:
    """Whether a "not" speaks against what stands before it."""
    words, breaks = sentence.words, sentence.breaks
    before = words[index - 1] if index else ""
    aside = index in breaks and any(
        words[place] in IS and place + 1 in breaks for place in range(max(0, index - 6), index)
    )  # "X is, in this man, not indicated"
    contrasts = index in breaks or before in ("and", "or", "but", "then", "")  # "X, not Y, is the drug"
    if words[index] in ("not", "never") and contrasts and not aside:
        return False
    following = words[index + 1 : index + 5]
    said = next((word for word in following if word not in ("to", "be", "been", "really", "a", "the")), "")
    if words[index] in IS_NOT or before in IS or aside or following[:1] in (("be",), ("been",)):
        return said not in SPARES
    return stem(said) in SERVES if said else False


def _is_said_of(words: tuple[str, ...], index: int) -> bool:
    return any(word in BE for word in words[max(0, index - 3) : index])


def _is_in_a_subject(sentence: Sentence, index: int) -> bool:
    """Whether a "no" stands within a subject that began before it: "fever and no rash mean X"."""
    # "attacks, a fever": what may be a noun as well has no object behind a comma.
    verbs = [place for place in sentence.verbs if place < index and place + 1 not in sentence.breaks]
    starts = index > 0 and sentence.words[index] in ("no", "without")
    return starts and all(sentence.words[place - 1] in RELATIVE for place in verbs)


def _mark(sentence: Sentence, start: int, marks: list[bool], *, commas: bool, to_verb: bool = False) -> None:
    for place in range(start, min(start + _REACH, len(sentence.words))):
        if to_verb and (place in sentence.verbs or sentence.words[place] in MEAN):
            return
        word = sentence.words[place]
        following = sentence.words[place + 1] if place + 1 < len(sentence.words) else ""
        anew = word in ("and", "then") and (following in ORDERS or following in ("a", "an", "the", "to"))
        parted = place in sentence.breaks and place > start and not (commas or _is_item(sentence, place))
        if word in CLAUSE or anew or parted:
            return
        marks[place] = True


def _is_item(sentence: Sentence, place: int) -> bool:
    """Whether a comma goes on with an enumeration that ends in "and" or "or": "stop X, Y and Z"."""
    words = sentence.words
    for _ in range(_ITEM):
        end = place + _ITEM
        end = next((stop for stop in range(place + 1, end) if stop in sentence.breaks), end)
        item = words[place:end]
        if not item or item[0] in ORDERS or not sentence.verbs.isdisjoint(range(place, end)):
            return False
        if "and" in item[1:] or "or" in item[1:]:
            return True
        place = end
    return False


def _mark_back(sentence: Sentence, index: int, marks: list[bool]) -> None:
    words = sentence.words
    for place in range(index - 1, max(-1, index - 1 - _REACH), -1):
        stands_for = set(words[place + 1 : index]) <= STANDS_FOR  # "X is fast, but it is contraindicated"
        if words[place] in CLAUSE or (words[place] == "and" and _joins_clauses(sentence, place, index)):
            if stands_for and place + 1 < index:
                continue
            return
        marks[place] = True
        if place in sentence.breaks and not stands_for:
            item = range(max(0, place - _ITEM), place)
            apart = sentence.breaks.isdisjoint(item)
            if item.start > 0 and apart:  # else "X, Y and Z are contraindicated" is said of all three
                return


def _joins_clauses(sentence: Sentence, place: int, index: int) -> bool:
    """Whether both sides have a verb and a subject of their own: "X is given and Y is contraindicated"."""
    verbs = sentence.verbs
    between = any(place < verb < index for verb in verbs)
    return between and place + 1 not in verbs and any(verb < place for verb in verbs)
