"""Which way a text points: who says the one where the source has the other turns it round.

"Raised" is turned round by "lowered", and by "did not raise"; "A was better than B" by "B was better than A".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from maporl_cli.rewards.sentences import FUNCTION_WORDS, Sentence, sentences, words_of
from maporl_cli.rewards.stems import stem


def _stems(words: str) -> frozenset[str]:
    return frozenset(map(stem, words.split()))


RISE = _stems(
    "increase increased raise raised higher more great greater elevate elevated rise rose high longer larger "
    "double doubled triple tripled"
)
FALL = _stems(
    "decrease decreased reduce reduced low lower lowered less fewer fall fell rarer smaller shorter suppress "
    "halve halved"
)
_PARTING = frozenset("and but while whereas".split())
_MOVES = (RISE | FALL) - _stems("high low great")
"""Without what may be so and has not moved: "at high altitude"."""
HARM = _stems("harm worsen damage toxic danger unsafe")
PROTECT = _stems("protect protects improve benefit safe prevent safely")
BACKED = _stems(
    "effective recommend recommended prefer preferred suggest suggested advise advised indicated "
    "favor favour first choice should"
)
REFUSED = _stems("ineffective avoid avoided contraindicated unnecessary withhold withheld")

_OPPOSED = (
    (RISE, FALL),
    (HARM, PROTECT),
    (BACKED, REFUSED),
    (_stems("positive"), _stems("negative")),
    (_stems("significant"), frozenset[str]()),
    (_stems("affect affected lose lost"), _stems("spare spared preserve preserved")),
    (
        _stems("provoke provoked cause caused trigger triggered develop developed"),
        _stems("prevent prevented relieve relieved avert averted"),
    ),
    (_stems("untreated"), _stems("treated treat treatment")),
    (_stems("better superior improve improved"), _stems("worse inferior worsen worsened")),
    (_stems("exclude excluded refute"), _stems("confirm confirmed prove proved")),
    (_stems("often usually frequently always commonly"), _stems("never rarely seldom")),
)
_DIFFERS = frozenset("differ differed difference differences change changed improve improved effect".split())
_FLIPS = frozenset(
    "not no never nor neither without cannot isn't aren't wasn't weren't don't doesn't didn't can't couldn't "
    "shouldn't won't wouldn't hasn't haven't hadn't".split()
)
_WITHIN = 2
"""Words before one that points, among which one turns it round: "no clear benefit"; or the one behind it, as
in "should not"."""

_UNRELATED = frozenset("association associations evidence link relation relationship correlation".split())
_UNRELATED_WITHIN = 14
"""Words behind "no association" up to which all is denied that its clause has."""

Side = tuple[int, bool]
"""Which pair of directions, and whether its second."""

_RANKS = (
    "than", "superior to", "inferior to", "preferred to", "preferable to", "over", "instead of",
    "compared with", "compared to", "versus", "vs", "against",
)  # fmt: skip
_THEN = ("before", "followed by", "precede", "precedes", "preceded")
_THEREAFTER = ("after", "preceded by", "follow", "follows")
_COMPARATORS = {
    tuple(phrase.split()): (family, turned)
    for family, turned, phrases in (
        ("rank", False, _RANKS),
        ("order", False, _THEN),
        ("order", True, _THEREAFTER),
    )
    for phrase in phrases
}
"""What sets one thing against another or before it, and whether the second comes first."""


def turned(said: str, written: str) -> bool:
    """Whether what is said turns round what is written; two turns make none: "A had more than B" is what
    "B had less than A" says."""
    return opposed(said, written) != exchanged(said, written) or swapped(said, written)


def swapped(said: str, written: str) -> bool:
    """Whether what rises in one text falls in the other: "raised X, lowered Y" for "lowered X and raised Y".

    Nothing where things are set against each other: "higher in A than in B" moves neither.
    """
    if compares(said) or compares(written):
        return False
    ours, theirs = _moved(said), _moved(written)
    shared = [
        ours[word] == theirs[word]
        for word in ours.keys() & theirs.keys()
        if len(ours[word]) == len(theirs[word]) == 1
    ]
    return 2 * sum(shared) < len(shared)


@lru_cache(maxsize=8192)
def _moved(text: str) -> dict[str, set[bool]]:
    """Words of what a text says to move, and whether that falls: what is behind the word that says so, or
    before it where nothing is."""
    found: dict[str, set[bool]] = {}
    for sentence in sentences(text):
        words = sentence.words
        movers = [place for place, word in enumerate(words) if stem(word) in _MOVES]
        stops = {0, len(words), *movers, *sentence.breaks}
        stops |= {place for place, word in enumerate(words) if word in _PARTING}
        for place in movers:
            behind = words[place + 1 : min(stop for stop in stops if stop > place)]
            before = words[max((stop for stop in stops if stop < place), default=0) : place]
            flipped = not _FLIPS.isdisjoint(words[max(0, place - _WITHIN) : place])
            flipped |= _is_unrelated(sentence, place)
            for word in (_content(behind) or _content(before)) - RISE - FALL:
                found.setdefault(word, set()).add((stem(words[place]) in FALL) != flipped)
    return found


def opposed(said: str, written: str) -> bool:
    """Whether what is said points one way, and what is written the other way."""
    return any(_differ(pair, said, written) for pair in range(len(_OPPOSED)))


def rises_for_falls(said: str, written: str) -> bool:
    """Whether one only tells of a rise, or of what is high, and the other only of a fall."""
    return _differ(_OPPOSED.index((RISE, FALL)), said, written)


def _differ(pair: int, said: str, written: str) -> bool:
    ours, theirs = sides(said), sides(written)
    return any(
        (pair, second) in ours
        and (pair, not second) not in ours
        and (pair, not second) in theirs
        and (pair, second) not in theirs
        for second in (False, True)
    )


def moves(text: str) -> bool:
    """Whether the text tells of a rise, a fall, or a difference."""
    return any(pair == 0 for pair, _ in sides(text)) or not _DIFFERS.isdisjoint(words_of(text))


def protects(text: str) -> bool:
    """Whether the text tells of a benefit."""
    return (_OPPOSED.index((HARM, PROTECT)), True) in sides(text)


def refuses(text: str) -> bool:
    """Whether the text speaks against something."""
    found = sides(text)
    return (_OPPOSED.index((HARM, PROTECT)), False) in found or (
        _OPPOSED.index((BACKED, REFUSED)),
        True,
    ) in found


@lru_cache(maxsize=8192)
def sides(text: str) -> frozenset[Side]:
    """The directions of a text's words; "not" before one turns it round."""
    found: set[Side] = set()
    for sentence in sentences(text):
        for place, word in enumerate(sentence.words):
            beside = sentence.words[max(0, place - _WITHIN) : place] + sentence.words[place + 1 : place + 2]
            flipped = not _FLIPS.isdisjoint(beside) or _is_unrelated(sentence, place)
            root = stem(word)
            for pair, (one, other) in enumerate(_OPPOSED):
                if root in one or root in other:
                    found.add((pair, (root in other) != flipped))
    return frozenset(found)


def _is_unrelated(sentence: Sentence, place: int) -> bool:
    """Whether "no association" stands before the word in its clause: "no association with fewer events"."""
    words = sentence.words
    first = max((stop for stop in sentence.breaks if stop <= place), default=0)
    return any(
        words[index] in ("no", "without") and words[index + 1] in _UNRELATED
        for index in range(max(first, place - _UNRELATED_WITHIN), place - 1)
    )


def compares(text: str) -> bool:
    """Whether the text sets one thing against another."""
    return any(True for _ in _pairs(text))


def exchanged(said: str, written: str) -> bool:
    """Whether two things that are set against each other in both texts have changed places."""
    theirs = set(_pairs(written))
    return any(
        (family, second, first) in theirs and (family, first, second) not in theirs
        for family, first, second in _pairs(said)
    )


def _pairs(text: str) -> Iterator[tuple[str, str, str]]:
    """What is set before what: "fewer with A than with B" sets A before B, as "B after A" does."""
    for sentence in sentences(text):
        words = sentence.words
        for place in range(len(words)):
            for phrase, (family, turned) in _COMPARATORS.items():
                if words[place : place + len(phrase)] != phrase:
                    continue
                behind = place + len(phrase)
                if words[behind : behind + 1] and words[behind][0].isdigit() and phrase == ("over",):
                    continue  # "over 34 hours"
                if place == 0:  # "Compared with B, A …"
                    end = min((stop for stop in sentence.breaks if stop > behind), default=len(words))
                    left, right = words[end:], words[behind:end]
                else:
                    left, right = words[:place], words[behind:]
                one, other = (
                    (_content(right), _content(left)) if turned else (_content(left), _content(right))
                )
                for first in one - other:
                    for second in other - one:
                        yield family, first, second


def _content(words: tuple[str, ...]) -> frozenset[str]:
    return frozenset(stem(word) for word in words if word not in FUNCTION_WORDS and not word[0].isdigit())
