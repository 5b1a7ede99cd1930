"""Whether a sentence advises an act that it names, however hedged.

Read clause by clause. A decision for the act ("start X", "X may be tried", "my vote goes to X") is advice,
whatever danger is told beside it; praise ("X is reasonable", "X will ease her cramps") only where the
clause tells of no harm and no "but" takes it back. Neither is advice where it is past, supposed, said of
others, or waits for what makes the act safe. A denied objection ("nothing speaks against X") is advice.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache
from itertools import pairwise

from lemminflect import getAllLemmas, getInflection

from maporl_cli.rewards import advice_words as known
from maporl_cli.rewards.clauses import SUPPOSING, Clause, clause_at, clauses
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import Sentence, is_plain_verb, is_verb_at
from maporl_cli.rewards.stems import stem

_REACH = 12
"""Words between a verb and the act that it governs."""
_OBJECTION_WITHIN = 6
_BEHIND_MODAL = 5
_DOSED_WITHIN = 6
_SHORT = 4
"""Words of a clause that only draws the conclusion: "hence my recommendation"."""
_ASKING = frozenset("should could can may is are would does shall".split())
"""At the head of a sentence these ask."""
_CONCEDING = frozenset("although though while whereas".split())
_BLAMING = frozenset(
    "danger dangers risk risks harm toxicity problem trouble culprit mistake error fault".split()
)
"""Before an act these speak ill of it; other harms before it may be what it is for."""
_REFUSING = frozenset("disagree object refuse declined decline refused".split())
_VERDICTS = frozenset("error mistake folly wrong disaster dangerous fatal madness trap no never".split())


def advises(sentence: Sentence, start: int, end: int) -> bool:
    """Whether the sentence advises the act that its words `start` to `end` name."""
    mention = _Mention(sentence, start, end)
    if mention.is_supposed() or mention.is_put_off():
        return False
    if mention.is_welcomed():
        return True
    if mention.is_denied or mention.is_set_aside() or mention.is_called_wrong():
        return False
    if mention.is_decided_elsewhere():
        return True
    if mention.is_told():
        return False
    if mention.is_parted():
        return False
    return mention.is_decided() or (mention.is_praised() and not mention.is_taken_back())


class _Mention:
    """An act where a sentence names it, with the clause around it."""

    def __init__(self, sentence: Sentence, start: int, end: int) -> None:
        self.sentence, self.words, self.marks = sentence, sentence.words, denied(sentence)
        self.start, self.end = start, end
        self.clause = clause_at(sentence, start)
        self.before = [place for place in self.clause.places if place < start]
        self.behind = [place for place in self.clause.places if place >= end]
        self.is_denied = any(self.marks[start:end])

    def is_supposed(self) -> bool:
        """Whether it stands in an if-clause, a concession or a question, or beside what is not so."""
        words, opener = self.words, self.clause.opener
        asked = words[0] in _ASKING and all(place > self.start for place in self.sentence.breaks)
        if opener in SUPPOSING or opener in _CONCEDING or opener == "before" or asked:
            return True
        if "would" in words and _is_counterfactual(self.sentence):
            return True
        return any(
            pair in (("would", "have"), ("could", "have")) for pair in pairwise(self._said(self.behind))
        )

    def is_put_off(self) -> bool:
        """Whether the act waits: "only after", "before any X", "once the blockade is complete"."""
        near = self._said(self.before[-4:])
        if (
            ("only", "then") in pairwise(near)
            or ("only", "after") in pairwise(near)
            or near[-1:] == ["before"]
        ):
            return True
        if ("only", "once") in pairwise(near) or ("only", "after") in pairwise(self._said(self.behind)):
            return True
        words = self.words
        return any(
            word in ("once", "after", "when", "until", "unless")
            and not known.DONE.isdisjoint(words[place + 1 : place + 8])
            for place, word in enumerate(words)
        )

    def is_welcomed(self) -> bool:
        """Whether an objection to it is denied."""
        words = self.words
        said = self._said(self.before)
        needed = "without" in said[-3:] and not (known.NEGATORS - {"without"}).isdisjoint(said)
        if needed or words[:2] == ("why", "not"):
            return True  # "we cannot treat without X"
        places = self.clause.places
        return any(
            words[place] in known.NEGATORS - {"without"} and self._is_no_objection(places[index + 1 :])
            for index, place in enumerate(places)
        )

    def _is_no_objection(self, following: tuple[int, ...]) -> bool:
        words = self.words
        for place in following[:_OBJECTION_WITHIN]:
            word = words[place]
            if stem(word) in known.OBJECTIONS:
                undone = any(stem(later) in known.UNDOES for later in words[place + 1 : place + 4])
                return not undone or stem(word) in known.UNDOES
            if word not in known.BETWEEN and not self.start <= place < self.end:
                return False
        return False

    def is_told(self) -> bool:
        """Whether the clause tells what was, what the patient takes, or what is done to others."""
        said = self._said(self.clause.places)
        if not known.OTHERS.isdisjoint(said) or self._is_about_others():
            return True
        near = self._said(self.before[1:][-2:])  # at the head, "take X" is an order
        if not known.HISTORY.isdisjoint(near) and known.MODALS.isdisjoint(said):
            return not any(stem(word) in known.COMMITS for word in self._said(self.before))
        if not known.SELF.isdisjoint(self._said(self.before)):
            return False  # "we chose X"
        around = (*self.before, *self.behind)
        past = [place for place in around if _is_past(self.words, place)]
        modal = [place for place in around if self.words[place] in known.MODALS]
        return bool(past) and not any(place < past[0] or place > past[-1] for place in modal)

    def _is_about_others(self) -> bool:
        """Whether a "who" opens the clause, said of no one in particular: "anyone who gives X"."""
        antecedent = self.words[self.clause.places[0] - 1]
        return self.clause.opener == "who" and antecedent in known.OTHERS

    def is_set_aside(self) -> bool:
        """Whether it is ruled "out", thrown "away", or one of those "rather than" which another is had."""
        if self._said(self.behind[:1]) and self._said(self.behind[:1])[0] in (
            "out",
            "away",
            "aside",
            "alone",
        ):
            return True
        behind = [
            place
            for place in self.before
            if self.words[place] == "than" and self.words[place - 1] == "rather"
        ]
        return bool(behind) and not any(
            is_verb_at(self.words, place) for place in self.before if place > behind[-1]
        )

    def is_decided(self) -> bool:
        """Whether somebody decides for the act, lets it happen, or orders it."""
        return self._is_let() or self._is_governed() or self._is_ordered()

    def is_parted(self) -> bool:
        """Whether the word right before it parts it from the verb: "switch from X", "an alternative to X"."""
        near = ["", "", *(word for word in self._said(self.before[-4:]) if word not in known.ARTICLES)]
        if near[-1] == "from" and stem(near[-2]) in ("benefit", "come"):
            return False
        return near[-1] in known.APART or (near[-1] == "to" and near[-2] in known.RELATED)

    def _is_governed(self) -> bool:
        """Whether a verb of decision, or a word of permission, stands before the act."""
        words = self.words
        for place in reversed(self.before[-_REACH:]):
            word, previous = words[place], words[place - 1] if place else ""
            if self.marks[place]:
                continue
            if word in known.MODALS and self._is_harmless(range(place, self.start)):
                return True
            bound = stem(word) in known.BOUND
            if stem(word) not in known.COMMITS and not bound:
                continue
            if words[place + 1] == "that" or (previous in known.ARTICLES and not bound):
                continue
            if word.endswith("ing") and not self._is_meant(place):
                continue
            return True
        return False

    def _is_meant(self, place: int) -> bool:
        """Whether what is being done is somebody's will: "I suggest adding X", "is worth trying X"."""
        before = self.words[max(0, place - 2) : place]
        return any(word in ("am", "are", "worth", "by") or stem(word) in known.COMMITS for word in before)

    def _is_ordered(self) -> bool:
        """Whether the clause begins with some other verb that gives an order: "Pass a Foley catheter"."""
        places = [place for place in self.before if self.words[place] not in ("and", "then", "so", "please")]
        if not places or stem(self.words[places[0]]) in known.INFORMS or self.marks[places[0]]:
            return False
        told = any(is_verb_at(self.words, place) for place in places[1:])
        return is_plain_verb(self.words[places[0]]) and not told and self._is_harmless(self.behind)

    def _is_let(self) -> bool:
        """Whether a modal behind the act says that it may or should be done."""
        words = self.words
        for place in self.behind:
            due = words[place : place + 3] in (("is", "to", "be"), ("are", "to", "be"))
            if not (due or words[place] in known.MODALS) or self.marks[place]:
                continue
            said = [words[later] for later in self.behind if place < later <= place + _BEHIND_MODAL]
            if self._is_allowing(said) and (said[:1] == ["be"] or self._is_harmless(self.behind)):
                return True
        return False

    def _is_allowing(self, said: list[str]) -> bool:
        """Whether what follows a modal is done with an act, or is what an act itself may do: follow, start."""
        if any(stem(word) in known.TAKES_PLACE for word in said[:2]):
            return True
        return "be" in said[:2] and any(stem(word) in known.DONE_WITH for word in said)

    def is_praised(self) -> bool:
        """Whether the clause speaks well of the act and tells of no harm, or gives its dose or its time."""
        if not self._is_harmless(self.behind) or self._is_blamed() or self._ends_denied():
            return False
        praised = any(
            (stem(self.words[place]) in known.PRAISES or self.words[place] in known.PRAISES)
            and not self.marks[place]
            for place in self.clause.places
            if not self.start <= place < self.end
        )
        return (
            praised
            or self._is_of_benefit()
            or self._is_planned()
            or self._is_mine()
            or self._is_what_is_needed()
            or self._is_turned_to()
        )

    def _is_turned_to(self) -> bool:
        """Whether a verb or a form of giving it leads up to the act: "which leaves X", "an infusion of X".

        What such a sentence does with an act that it neither denies nor blames is mostly to want it.
        """
        said = self._said(self.before)
        if not known.LISTS.isdisjoint(said) or not self._is_harmless(self.before):
            return False
        led_up = any(is_verb_at(self.words, place) and not self.marks[place] for place in self.before)
        return led_up or not known.FORMS.isdisjoint(said[-4:])

    def _ends_denied(self) -> bool:
        """Whether the clause ends in what cannot be: "X, the usual choice, is one that he cannot tolerate"."""
        return any(self.words[place] in known.NEGATORS for place in self.behind[-3:])

    def _is_what_is_needed(self) -> bool:
        """Whether the act is called by a word for what this patient is given: "X is the treatment he needs"."""
        said = self._said(self.behind)
        named = said[:2] in (
            ["is", "the"],
            ["are", "the"],
            ["is", "our"],
            ["is", "my"],
            ["is", "her"],
            ["is", "his"],
        )
        return named and not known.FIGURES.isdisjoint(said[2:5]) and not known.PATIENT.isdisjoint(said[2:])

    def _is_mine(self) -> bool:
        """Whether the writer speaks of himself and the act: "X is where I would begin"."""
        said = self._said(self.behind)
        of_own = not known.SELF.isdisjoint(said) or said[:2] == ["is", "what"]
        return of_own and not known.MODALS.isdisjoint(said)

    def _is_of_benefit(self) -> bool:
        said = self._said(self.behind)
        sure = not known.SURE_MODALS.isdisjoint(said)
        hers = sure or not (known.PATIENT | known.MODALS | {"us"}).isdisjoint(said)
        helps = any(
            stem(self.words[place]) in known.BENEFITS and not self.marks[place] for place in self.behind
        )
        return hers and (helps or sure)

    def _is_planned(self) -> bool:
        """Whether a dose of this patient's, or a time without a verb, stands beside the act."""
        around = [
            self.words[place] for place in self.clause.places if abs(place - self.start) <= _DOSED_WITHIN
        ]
        dosed = any(one[0].isdigit() and unit in known.DOSES for one, unit in pairwise(around))
        spoken = any(is_verb_at(self.words, place) for place in self.clause.places)
        back = self._said(self.before[-2:])[:1] == ["back"] or self._said(self.behind[:2]) == ["it", "is"]
        comes = stem(self.words[self.end]) in known.TAKES_PLACE if self.behind[1:] else False
        timed = not (known.ORDER if comes else known.PLANS).isdisjoint(around)
        return dosed or back or ((comes or not spoken) and timed)

    def is_decided_elsewhere(self) -> bool:
        """Whether another clause decides for what it calls "it" or "that", or leaves unnamed."""
        return any(
            self._is_decision(clause) and self._is_harmless(clause.places)
            for clause in self._clauses_about_it()
        )

    def _is_decision(self, clause: Clause) -> bool:
        said = [self.words[place] for place in clause.places if not self.marks[place]]
        own = not known.SELF.isdisjoint(said)
        decided = any(stem(word) in known.COMMITS for word in said)
        if own and (decided or "yes" in said or not known.FIGURES.isdisjoint(said)):
            return True
        if decided and not known.PATIENT.isdisjoint(said[:2]) and "it" in said[2:]:
            return True  # "and she stays on it"
        allowed = any(one in known.MODALS and following != "have" for one, following in pairwise(said))
        return allowed and (decided or self._is_allowing(said[2:]) or "take" in said)

    def is_called_wrong(self) -> bool:
        """Whether another clause denies "it", or calls "that" a mistake."""
        return any(
            not (_VERDICTS | _REFUSING).isdisjoint(self._said(clause.places))
            or any(self.marks[place] and self.words[place] in known.ANAPHORS for place in clause.places)
            for clause in self._clauses_about_it()
        )

    def is_taken_back(self) -> bool:
        """Whether a "but" with no order and no praise of its own follows."""
        for clause in clauses(self.sentence):
            if clause.places[0] <= self.start or clause.opener not in ("but", "yet", "however", "though"):
                continue
            said = self._said(clause.places)
            ordered = len(said) > 1 and is_plain_verb(said[1])
            if not ordered and not any(stem(word) in known.PRAISES | known.COMMITS for word in said):
                return True
        return any(not self._is_harmless(clause.places) for clause in self._clauses_about_it())

    def _clauses_about_it(self) -> Iterable[Clause]:
        for clause in clauses(self.sentence):
            if clause.places[0] > self.start and clause is not self.clause:
                said = self._said(clause.places)
                unnamed = len(said) > 1 and said[1] in known.MODALS  # "but should be tried"
                unnamed = unnamed or (clause.opener in ("so", "hence", "thus") and len(said) <= _SHORT)
                judged = not known.SELF.isdisjoint(said) and not (_REFUSING | {"yes"}).isdisjoint(said)
                if unnamed or judged or not known.ANAPHORS.isdisjoint(said):
                    yield clause

    def _is_harmless(self, places: Iterable[int]) -> bool:
        for place in places:
            word = stem(self.words[place])
            if word in known.BENEFITS and not self.marks[place]:
                return True
            if (
                (word in known.HARMS or self.words[place] in known.BLAMES)
                and not self.marks[place]
                and not self.start <= place < self.end
            ):
                return False
        return True

    def _is_blamed(self) -> bool:
        return any(self.words[place] in _BLAMING and not self.marks[place] for place in self.before)

    def _said(self, places: Iterable[int]) -> list[str]:
        return [self.words[place] for place in places]


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


def _is_past(words: tuple[str, ...], place: int) -> bool:
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
