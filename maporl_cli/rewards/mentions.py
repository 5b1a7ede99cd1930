"""An act where a sentence names it: in which clause, and whether it is only told of, supposed or put off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from lemminflect import getAllLemmas, getInflection

from maporl_cli.rewards import advice_words as known
from maporl_cli.rewards.clauses import SUPPOSING, Clause, clause_at, clauses
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import Sentence, is_plain_verb, is_verb_at
from maporl_cli.rewards.stems import stem

_LONGEST = 120
"""Words of the longest sentence that is read as a whole."""
_SHORT = 4
"""Words of a clause that only draws the conclusion: "hence my recommendation"."""
_DONE_WITHIN = 8
_OPENS_UNREAL = SUPPOSING | {"although", "though", "while", "whereas", "before"}
"""What these open is supposed, granted or not yet; nothing in it is advice."""


class Mention:
    """An act where a sentence names it, with the clause around it.

    Attributes:
        before: the words of its clause that stand before it, by their places.
        behind: those that stand behind it.
        is_denied: whether the sentence denies the act itself.
    """

    def __init__(self, sentence: Sentence, start: int, end: int) -> None:
        sentence, start, end = _around(sentence, start, end)
        self.sentence, self.words, self.marks = sentence, sentence.words, denied(sentence)
        self.start, self.end = start, end
        self.clause = clause_at(sentence, start)
        self.before = [place for place in self.clause.places if place < start]
        self.behind = [place for place in self.clause.places if place >= end]
        self.is_denied = any(self.marks[start:end])

    def said(self, places: Iterable[int]) -> list[str]:
        """The words that stand there."""
        return [self.words[place] for place in places]

    def affirmed(self, places: Iterable[int]) -> list[str]:
        """The words that stand there and are not denied."""
        return [self.words[place] for place in places if not self.marks[place]]

    def is_supposed(self) -> bool:
        """Whether it stands in an if-clause, a concession or a question, or beside what is not so."""
        words, opener = self.words, self.clause.opener
        asked = words[0] in known.ASKING and all(place > self.start for place in self.sentence.breaks)
        if opener in _OPENS_UNREAL or asked:
            return True
        if "would" in words and _is_counterfactual(self.sentence):
            return True
        return any(
            pair in (("would", "have"), ("could", "have")) for pair in pairwise(self.said(self.behind))
        )

    def is_put_off(self) -> bool:
        """Whether the act waits: "only after", "before any X", "once the blockade is complete"."""
        near = self.said(self.before[-4:])
        waits = (("only", "then"), ("only", "after"), ("only", "once"))
        if near[-1:] == ["before"] or any(pair in waits for pair in pairwise(near)):
            return True
        if ("only", "after") in pairwise(self.said(self.behind)):
            return True
        return any(
            word in ("once", "after", "when", "until", "unless")
            and not known.DONE.isdisjoint(self.words[place + 1 : place + _DONE_WITHIN])
            for place, word in enumerate(self.words)
        )

    def is_told(self) -> bool:
        """Whether the clause tells what was, what the patient takes, or what others do."""
        before = self.said(self.before)
        if not known.OTHERS.isdisjoint(before) or self._is_about_others():
            return True
        near = before[1:][-2:]  # at the head, "take X" is an order
        said = self.said(self.clause.places)
        if not known.HISTORY.isdisjoint(near) and known.MODALS.isdisjoint(said):
            return not any(stem(word) in known.COMMITS for word in before)
        if not known.SELF.isdisjoint(before) or self._has_order():
            return False  # "we chose X", "for restless nights give X as required"
        return self._is_past()

    def _has_order(self) -> bool:
        """Whether a verb that orders stands before the act as in an order: nobody is its subject."""
        return any(
            stem(self.words[place]) in known.COMMITS
            and is_plain_verb(self.words[place])
            and self.words[place - 1 : place] not in (("they",), ("who",), ("you",))
            and not (self.words[place - 1] == "to" and _is_past_at(self.words, place - 2))  # "used to take"
            for place in self.before
        )

    def _is_past(self) -> bool:
        """Whether the clause has a verb in the past and no modal before or after all of them."""
        around = (*self.before, *self.behind)
        past = [place for place in around if _is_past_at(self.words, place)]
        modal = [place for place in around if self.words[place] in known.MODALS]
        return bool(past) and not any(place < past[0] or place > past[-1] for place in modal)

    def _is_about_others(self) -> bool:
        """Whether a "who" opens the clause, said of no one in particular: "anyone who gives X"."""
        antecedent = self.words[self.clause.places[0] - 1]
        return self.clause.opener == "who" and antecedent in known.OTHERS

    def is_set_aside(self) -> bool:
        """Whether it is ruled "out", thrown "away", or among those "rather than" which another is had."""
        if not known.ASIDE.isdisjoint(self.said(self.behind[:1])) or "off" in self.said(self.behind[:3]):
            return True  # "X is off the list"
        words = self.words
        than = [place for place in self.before if words[place - 1 : place + 1] == ("rather", "than")]
        return bool(than) and not any(is_verb_at(words, place) for place in self.before if place > than[-1])

    def is_parted(self) -> bool:
        """Whether the word right before it parts it from the verb: "switch from X", "an alternative to X"."""
        near = ["", "", *(word for word in self.said(self.before[-4:]) if word not in known.ARTICLES)]
        if near[-1] == "from" and stem(near[-2]) in ("benefit", "come"):
            return False
        return near[-1] in known.APART or (near[-1] == "to" and near[-2] in known.RELATED)

    def is_harmless(self, places: Iterable[int]) -> bool:
        """Whether what stands there tells of no harm, or first of what the act does against one."""
        for place in places:
            if self.marks[place] or self.start <= place < self.end:
                continue
            word = self.words[place]
            if stem(word) in known.BENEFITS:
                return True
            if stem(word) in known.HARMS or word in known.REASONS:
                return False
        return True

    def clauses_about_it(self) -> Iterator[Clause]:
        """Later clauses that call the act "it" or "that", leave it unnamed, or judge what was said."""
        for clause in clauses(self.sentence):
            if clause.places[0] <= self.start or clause is self.clause:
                continue
            said = self.said(clause.places)
            unnamed = len(said) > 1 and said[1] in known.MODALS  # "but should be tried"
            concludes = clause.opener in ("so", "hence", "thus") and len(said) <= _SHORT
            judges = not known.SELF.isdisjoint(said) and not (known.REFUSING | {"yes"}).isdisjoint(said)
            if unnamed or concludes or judges or not known.ANAPHORS.isdisjoint(said):
                yield clause


def _around(sentence: Sentence, start: int, end: int) -> tuple[Sentence, int, int]:
    """The sentence, and where the act stands in it; of one without an end what is near the act."""
    if len(sentence.words) <= _LONGEST:
        return sentence, start, end
    first = max(0, start - _LONGEST // 2)
    words = sentence.words[first : end + _LONGEST // 2]
    breaks = frozenset(place - first for place in sentence.breaks if 0 <= place - first < len(words))
    return replace(sentence, text="", words=words, breaks=breaks), start - first, end - first


def _is_counterfactual(sentence: Sentence) -> bool:
    """Whether the sentence supposes what is not so: "had she", "if he were not", "but for his asthma"."""
    words = sentence.words
    if words[0] in ("had", "were") or ("but", "for") in pairwise(words) or "otherwise" in words:
        return True
    return any(
        word in ("if", "unless", "were")
        and not {"were", "weren't", "had", "hadn't", "not"}.isdisjoint(words[place : place + 5])
        for place, word in enumerate(words)
    )


def _is_past_at(words: tuple[str, ...], place: int) -> bool:
    """Whether a verb in the past stands there, and no participle or adjective."""
    word, before = words[place], words[max(0, place - 3) : place]
    if word in ("was", "were", "had", "did", "been"):
        return True
    if word in known.MODALS:
        return False
    helped = any(one in known.MODALS or one in ("is", "are", "be", "being", "has", "have") for one in before)
    return not helped and words[place - 1 : place] not in (("the",), ("a",), ("an",)) and _is_preterite(word)


@lru_cache(maxsize=16384)
def _is_preterite(word: str) -> bool:
    return any(
        lemma != word and word in getInflection(lemma, "VBD") for lemma in getAllLemmas(word).get("VERB", ())
    )
