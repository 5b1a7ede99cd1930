"""Whether a vignette tells something of a relative and not of the patient.

"His father has asthma" is the father's; "His father says that he has asthma" and "A mother brings her son
with asthma" are the patient's. In between, words are taken to go on about the relative.
"""

from __future__ import annotations

from maporl_cli.rewards.sentences import Sentence

_RELATIVES = frozenset(
    "family father mother brother sister sibling siblings brothers sisters parents son daughter "
    "sons daughters uncle aunt uncles aunts grandfather grandmother grandparents cousin cousins "
    "wife husband partner spouse roommate roommates friend friends neighbor twin girlfriend "
    "boyfriend relative relatives maternal paternal coworker colleague household".split()
)
_BY_NAME = frozenset("family maternal paternal relative relatives household".split())
"""These need no verb: "a family history of asthma"."""
_OWNING = frozenset(
    "has had have with is was were died suffers suffered of takes took diagnosed developed who and "
    "year years old".split()
)
"""Behind a relative, these go on about him."""
_TELLING = frozenset(
    "says said reports reported states stated brings brought notes noted noticed tells told thinks "
    "describes described worried concerned asks asked found called denies that because gives gave "
    "calls witnessed".split()
)
"""Behind a relative, what follows these is told by him."""
_PATIENT = frozenset("he she patient him they his her".split())
_NEAR, _OWN_WITHIN = 12, 4
_A_PATIENT = frozenset("boy girl man woman child infant patient toddler newborn".split())


def is_of_a_relative(sentence: Sentence, start: int, end: int) -> bool:
    """Whether what the words from `start` to `end` tell is told of a relative."""
    words = sentence.words
    if {"brings", "brought"} & set(words):
        return False  # whom they bring is the patient
    if any(_is_relative(words, place) for place in range(end, min(len(words), end + 2))):
        return _is_age(words, start)
    if words[end : end + 1] == ("in",):
        return any(_is_relative(words, place) for place in range(end + 1, min(len(words), end + 4)))
    nearest = next(
        (place for place in range(start - 1, max(-1, start - 1 - _NEAR), -1) if _is_relative(words, place)),
        None,
    )
    if nearest is None:
        return False
    between = words[nearest + 1 : start]
    if words[nearest] in _BY_NAME:
        return len(between) <= _OWN_WITHIN + 1
    if not _TELLING.isdisjoint(between) or not (_PATIENT | _A_PATIENT).isdisjoint(between):
        return False
    return not between or not _OWNING.isdisjoint(between) or _is_age(words, start)


def _is_age(words: tuple[str, ...], place: int) -> bool:
    return place > 0 and words[place - 1][0].isdigit()


def _is_relative(words: tuple[str, ...], place: int) -> bool:
    """Whether a relative of the patient stands there: "a 30-year-old mother of two" is the patient."""
    if words[place] not in _RELATIVES:
        return False
    heads = place <= 1 or (words[0] in ("a", "an") and "old" in words[1:place] and place <= 5)
    counted = words[place + 1 : place + 2] == ("of",)
    return not (counted or (heads and words[0] in ("a", "an", "the") and words[place] not in _BY_NAME))
