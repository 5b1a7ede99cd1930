"""Which words of a sentence are denied.

In the way of NegEx (Chapman et al. 2001, "A simple algorithm for identifying negated findings and
diseases in discharge summaries"): what denies reaches over the words after it or before it, up to
where the clause ends. Two that deny each other cancel: "not contraindicated" denies nothing.
"""

from __future__ import annotations

from functools import lru_cache

from maporl_cli.rewards.sentences import ORDERS, Sentence

_REACH = 10
_ITEM = 4
"""Words of an item of an enumeration, at most."""

_LISTS = (
    "no", "denies", "denied", "without", "neither", "nor", "absence of", "negative for", "lack of",
)  # fmt: skip
"""These deny the whole enumeration that follows."""
_AFTER = (
    "never had", "avoid", "avoiding", "avoids", "rather than", "instead of", "unlike", "excludes", "exclude",
    "excluded", "excluding", "rules out", "rule out", "ruled out", "ruling out", "argues against",
    "argue against", "speaks against", "speak against", "advises against", "advise against",
    "recommends against",
    "recommend against", "rejects", "reject", "stop", "stopping", "discontinue", "discontinuing",
    "withhold", "withholding", "switch from", "contraindicates", "less likely", "refuse",
    "better than", "preferred to", "preferable to", "mistake to", "wrong to", "dangerous to", "hold",
    "disagree with", "disagree on", "disagree", "object to", "omit", "discard",
)  # fmt: skip
"""These deny what follows, up to the next comma."""
_TRIGGERS: dict[str, list[tuple[tuple[str, ...], bool]]] = {}
for _phrases, _over_commas in ((_LISTS, True), (_AFTER, False)):
    for _phrase in _phrases:
        _TRIGGERS.setdefault(_phrase.split()[0], []).append((tuple(_phrase.split()), _over_commas))

_BEFORE = frozenset(
    "contraindicated unsafe unlikely incorrect wrong excluded harmful dangerous inappropriate avoided "
    "withheld discontinued stopped unnecessary ineffective fatal improper unwarranted absent refuted "
    "forbidden unhelpful untrue false implausible ruled rejected omitted".split()
)
"""These deny what stands before, after a form of "to be"."""
_FAILS = frozenset(
    "fails fail failed worsens worsen harms harm untreated lacks misses trigger triggers provoke "
    "provokes precipitate precipitates".split()
)
"""These deny what stands before by themselves."""
_BE = frozenset("is are was were be been being seems appears would".split())
_DENY = frozenset(
    "not never isn't aren't wasn't weren't don't doesn't didn't can't cannot couldn't shouldn't won't "
    "wouldn't hasn't haven't hadn't".split()
)
_DUTY = frozenset("must should ought may".split())
"""Before "not", these forbid: "must not be given"."""
_CLAUSE = frozenset(
    "but however although though because since so therefore which whereas while yet except hence thus "
    "if unless whether".split()
)
_CANCEL = frozenset(
    "differ difference differences doubt contraindicated unsafe unlikely excluded ruled only harmful "
    "dangerous wrong incorrect rule exclude delay just merely simply hesitate forget avoid withhold".split()
)
"""After "not", these leave nothing denied: "not only", "cannot be excluded", "do not delay"."""


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
        if word in _DENY:
            forbids = index > 0 and words[index - 1] in _DUTY
            skip = _not(sentence, index, marks) if as_advice or not forbids else index
        elif word in _FAILS or (word in _BEFORE and _is_said_of(words, index)):
            if as_advice:
                _mark_back(sentence, index, marks)
        else:
            for trigger, commas in _TRIGGERS.get(word, ()):
                if words[index : index + len(trigger)] == trigger and (commas or as_advice):
                    if words[index + 1 : index + 2] and words[index + 1] in _CANCEL:
                        break  # "no difference", "no doubt"
                    after = index + len(trigger)
                    if after in sentence.breaks or words[after : after + 1] in ((), ("and",), ("before",)):
                        _mark_back(
                            sentence, index, marks
                        )  # "heparin should stop": nothing follows that could
                    else:
                        _mark(sentence, after, marks, commas=commas)
                    break
    return tuple(marks)


def _not(sentence: Sentence, index: int, marks: list[bool]) -> int:
    """Denies the clause on both sides ("X is not Y"), or nothing; the last word that was used up."""
    words = sentence.words
    for place in range(index + 1, min(index + 4, len(words))):
        if words[place] in _CANCEL:
            return place
    _mark_back(sentence, index, marks)
    _mark(sentence, index + 1, marks, commas=False)
    return index


def _is_said_of(words: tuple[str, ...], index: int) -> bool:
    return any(word in _BE for word in words[max(0, index - 3) : index])


def _mark(sentence: Sentence, start: int, marks: list[bool], *, commas: bool) -> None:
    for place in range(start, min(start + _REACH, len(sentence.words))):
        word = sentence.words[place]
        following = sentence.words[place + 1] if place + 1 < len(sentence.words) else ""
        anew = word in ("and", "then") and (following in ORDERS or following in ("a", "an", "the"))
        if word in _CLAUSE or anew or (place in sentence.breaks and place > start and not commas):
            return
        marks[place] = True


def _mark_back(sentence: Sentence, index: int, marks: list[bool]) -> None:
    for place in range(index - 1, max(-1, index - 1 - _REACH), -1):
        if sentence.words[place] in _CLAUSE:
            return
        marks[place] = True
        if place in sentence.breaks:
            item = range(max(0, place - _ITEM), place)
            if item.start > 0 and sentence.breaks.isdisjoint(
                item
            ):  # else "X, Y and Z are contraindicated" is said of all three
                return
