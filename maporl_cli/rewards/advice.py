"""Whether a sentence advises an act that it names, however hedged.

Read clause by clause. A decision for the act ("start X", "X may be tried", "my vote goes to X") is advice,
whatever danger is told beside it; praise ("X is reasonable", "X will ease her cramps") only where the
clause tells of no harm and no "but" takes it back. Neither is advice where it is past, supposed, said of
others, or waits for what makes the act safe. A denied objection ("nothing speaks against X") is advice.
"""

from __future__ import annotations

from itertools import pairwise

from maporl_cli.rewards import advice_words as known
from maporl_cli.rewards.clauses import Clause, clauses
from maporl_cli.rewards.mentions import Mention
from maporl_cli.rewards.negation import denied
from maporl_cli.rewards.sentences import Sentence, is_plain_verb, is_verb_at
from maporl_cli.rewards.stems import stem

_REACH = 12
"""Words between a verb and the act that it governs."""
_SUBJECT_WITHIN = 4
"""An act among so many first words is what its sentence is about."""
_OBJECTION_WITHIN = 6
_BEHIND_MODAL = 5
_DOSED_WITHIN = 6


def advises(sentence: Sentence, start: int, end: int, following: Sentence | None = None) -> bool:
    """Whether the sentence advises the act that its words `start` to `end` name.

    Args:
        following: the next sentence, which may order "it" or take it back.
    """
    mention = Mention(sentence, start, end)
    if mention.is_supposed() or mention.is_put_off():
        return False
    if _is_welcomed(mention):
        return True
    if mention.is_denied or mention.is_set_aside() or _is_called_wrong(mention):
        return False
    if _is_decided_elsewhere(mention) or (following and _is_taken_up(mention, following)):
        return True
    if mention.is_told() or mention.is_parted():
        return False
    if _is_decided(mention):
        return True
    return _is_praised(mention) and not (_is_taken_back(mention) or (following and _is_undone(following)))


def _is_taken_up(mention: Mention, following: Sentence) -> bool:
    """Whether the next sentence orders "it": "Verapamil slows the node. I would give it"."""
    words, marks = following.words, denied(following)
    ordered = any(
        stem(word) in known.COMMITS and not marks[place] and "it" in words[place + 1 : place + 3]
        for place, word in enumerate(words)
    )
    return ordered and mention.start < _SUBJECT_WITHIN and mention.is_harmless(mention.behind)


def _is_undone(following: Sentence) -> bool:
    """Whether the next sentence stops "it"."""
    return "it" in following.words and any(stem(word) in known.UNDOES for word in following.words)


def _is_welcomed(mention: Mention) -> bool:
    """Whether an objection to the act is denied, or that one can do without it."""
    words, places, said = mention.words, mention.clause.places, mention.said(mention.before)
    needed = "without" in said[-3:] and not known.NEGATORS.isdisjoint(said)
    if needed or (words[:2] == ("why", "not") and is_plain_verb(words[2])):  # "why not give X?"
        return True
    return any(
        words[place] in known.NEGATORS and _is_no_objection(mention, places[index + 1 :])
        for index, place in enumerate(places)
    )


def _is_no_objection(mention: Mention, following: tuple[int, ...]) -> bool:
    """Whether an objection follows a "no", with nothing of its own in between."""
    words = mention.words
    for place in following[:_OBJECTION_WITHIN]:
        word = words[place]
        if stem(word) in known.OBJECTIONS:
            undone = any(stem(later) in known.UNDOES for later in words[place + 1 : place + 4])
            return not undone or stem(word) in known.UNDOES  # "no harm in stopping X"
        if word not in known.BETWEEN and not mention.start <= place < mention.end:
            return False
    return False


def _is_called_wrong(mention: Mention) -> bool:
    """Whether a later clause calls "that" a mistake, or its writer disagrees."""
    return any(
        not (known.VERDICTS | known.REFUSING).isdisjoint(said) and "not" not in said  # "it is not wrong"
        for clause in mention.clauses_about_it()
        if (said := mention.affirmed(clause.places))
    )


def _is_decided_elsewhere(mention: Mention) -> bool:
    """Whether another clause decides for what it calls "it" or "that", or leaves unnamed."""
    return any(
        _is_decision(mention, clause) and mention.is_harmless(clause.places)
        for clause in mention.clauses_about_it()
    )


def _is_decision(mention: Mention, clause: Clause) -> bool:
    said = mention.affirmed(clause.places)
    decided = any(stem(word) in known.COMMITS for word in said)
    if not known.SELF.isdisjoint(said):  # "so that is our agent", "and I would say yes"
        return decided or not (known.FIGURES | {"yes"}).isdisjoint(said)
    if decided and not known.PATIENT.isdisjoint(said[:2]) and "it" in said[2:]:
        return True  # "and she stays on it"
    if {"needs", "that"} <= set(said):
        return True  # "and that is just what this heart needs"
    allowed = any(one in known.MODALS and following != "have" for one, following in pairwise(said))
    return allowed and (decided or _is_allowing(said[2:]) or "take" in said)


def _is_decided(mention: Mention) -> bool:
    """Whether somebody decides for the act, lets it happen, or orders it."""
    return _is_let(mention) or _is_governed(mention) or _is_ordered(mention)


def _is_governed(mention: Mention) -> bool:
    """Whether a verb of decision, or a word of permission, stands before the act."""
    words = mention.words
    for place in reversed(mention.before[-_REACH:]):
        word, previous = words[place], words[place - 1] if place else ""
        if mention.marks[place]:
            continue
        if word in known.MODALS and mention.is_harmless(range(place, mention.start)):
            return True
        bound = stem(word) in known.BOUND
        if stem(word) not in known.COMMITS and not bound:
            continue
        if words[place + 1] == "that" or (previous in known.ARTICLES and not bound):
            continue
        if word.endswith("ing") and not _is_meant(mention, place):
            continue
        return True
    return False


def _is_meant(mention: Mention, place: int) -> bool:
    """Whether what is being done is somebody's will: "I suggest adding X", "is worth trying X"."""
    before = mention.words[max(0, place - 2) : place]
    return any(word in ("am", "are", "worth", "by") or stem(word) in known.COMMITS for word in before)


def _is_ordered(mention: Mention) -> bool:
    """Whether the clause begins with some other verb that gives an order: "Pass a Foley catheter"."""
    places = [
        place for place in mention.before if mention.words[place] not in ("and", "then", "so", "please")
    ]
    if not places or stem(mention.words[places[0]]) in known.INFORMS or mention.marks[places[0]]:
        return False
    told = any(is_verb_at(mention.words, place) for place in places[1:])
    return is_plain_verb(mention.words[places[0]]) and not told and mention.is_harmless(mention.behind)


def _is_let(mention: Mention) -> bool:
    """Whether a modal behind the act says that it may or should be done."""
    words = mention.words
    for place in mention.behind:
        due = words[place : place + 3] in (("is", "to", "be"), ("are", "to", "be"))
        if not (due or words[place] in known.MODALS) or mention.marks[place]:
            continue
        said = [words[later] for later in mention.behind if place < later <= place + _BEHIND_MODAL]
        if not known.OTHERS.isdisjoint(said):
            continue  # "would be an option in other patients"
        if _is_allowing(said) and (said[:1] == ["be"] or mention.is_harmless(mention.behind)):
            return True
    return False


def _is_allowing(said: list[str]) -> bool:
    """Whether what follows a modal is done with an act, or is what an act itself may do: follow, start."""
    if any(stem(word) in known.TAKES_PLACE for word in said[:2]):
        return True
    return "be" in said[:2] and any(stem(word) in known.DONE_WITH for word in said)


def _is_praised(mention: Mention) -> bool:
    """Whether the clause speaks well of the act, or leads up to it, and tells of no harm."""
    blamed = not known.BLAMING.isdisjoint(mention.affirmed(mention.before))
    if blamed or not mention.is_harmless(mention.behind) or _ends_denied(mention):
        return False
    if not known.OTHERS.isdisjoint(mention.said(mention.behind)):
        return False
    around = mention.affirmed((*mention.before, *mention.behind))
    if any(stem(word) in known.PRAISES or word in known.PRAISES for word in around):
        return True
    if any(word.endswith("er") and than == "than" for word, than in pairwise(around)):
        return True  # "kinder than"
    ways = (_is_of_benefit, _is_planned, _is_mine, _is_what_is_needed, _is_turned_to, _is_praised_elsewhere)
    return any(way(mention) for way in ways)


def _is_of_benefit(mention: Mention) -> bool:
    """Whether the act will do this patient good, or will do what is no harm."""
    said = mention.said(mention.behind)
    if not known.SURE_MODALS.isdisjoint(said):
        return True
    theirs = not (known.PATIENT | known.MODALS | {"us"}).isdisjoint(said)
    return theirs and any(stem(word) in known.BENEFITS for word in mention.affirmed(mention.behind))


def _is_planned(mention: Mention) -> bool:
    """Whether a dose of this patient's, or a time without a verb, stands beside the act."""
    words, places = mention.words, mention.clause.places
    around = [words[place] for place in places if abs(place - mention.start) <= _DOSED_WITHIN]
    if any(one[0].isdigit() and unit in known.DOSES for one, unit in pairwise(around)):
        return True
    behind = mention.said(mention.behind[:2])
    if mention.said(mention.before[-2:])[:1] == ["back"] or behind in (["it", "is"], ["is", "next"]):
        return True  # "back to X", "X it is"
    if any(is_verb_at(words, place) for place in places) or is_plain_verb(words[places[0]]):
        comes = any(stem(word) in known.TAKES_PLACE for word in mention.said(mention.behind[:1]))
        return comes and not known.ORDER.isdisjoint(around)
    return not known.PLANS.isdisjoint(around)


def _is_mine(mention: Mention) -> bool:
    """Whether the writer speaks of himself and the act: "X is where I would begin"."""
    said = mention.said(mention.behind)
    of_own = not known.SELF.isdisjoint(said) or said[:2] == ["is", "what"]
    meant = any(word in known.MODALS or stem(word) in known.COMMITS for word in said)
    return of_own and meant


def _is_what_is_needed(mention: Mention) -> bool:
    """Whether the act is called by a word for what this patient is given: "X is the treatment he needs"."""
    said = mention.said(mention.behind)
    named = said[:1] in (["is"], ["are"]) and said[1:2] not in (["a"], ["an"])
    return named and not known.FIGURES.isdisjoint(said[2:5]) and not known.PATIENT.isdisjoint(said[2:])


def _is_praised_elsewhere(mention: Mention) -> bool:
    """Whether a later clause speaks well of "it"."""
    return any(
        stem(word) in known.PRAISES
        for clause in mention.clauses_about_it()
        if "it" in (said := mention.affirmed(clause.places))
        for word in said
    )


def _is_turned_to(mention: Mention) -> bool:
    """Whether a verb or a form of giving it leads up to the act: "which leaves X", "an infusion of X".

    What such a sentence does with an act that it neither denies nor blames is mostly to want it.
    """
    said = mention.said(mention.before)
    if not known.LISTS.isdisjoint(said) or not mention.is_harmless(mention.before):
        return False
    if said[-2:] in (["is", "a"], ["is", "an"], ["are", "a"]):
        return False  # "ampicillin is a penicillin"
    done = said[:1] != [] and said[0].endswith("ing") and stem(said[0]) in known.COMMITS
    led_up = any(is_verb_at(mention.words, place) and not mention.marks[place] for place in mention.before)
    return (
        led_up
        or (done and "would" not in mention.said(mention.behind))
        or not known.FORMS.isdisjoint(said[-4:])
    )


def _ends_denied(mention: Mention) -> bool:
    """Whether the clause ends in what cannot be: "X, the usual choice, is one that he cannot tolerate"."""
    return any(mention.words[place] in known.NEGATORS for place in mention.behind[-3:])


def _is_taken_back(mention: Mention) -> bool:
    """Whether a later clause denies "it" or blames it, or a "but" follows with no order and no praise."""
    for clause in clauses(mention.sentence):
        if clause.places[0] <= mention.start or clause.opener not in ("but", "yet", "however", "though"):
            continue
        said = mention.said(clause.places)
        ordered = len(said) > 1 and is_plain_verb(said[1])
        if (
            not ordered
            and known.WATCHES.isdisjoint(mention.words)
            and not any(stem(word) in known.PRAISES | known.COMMITS for word in said)
        ):
            return True
    return any(
        not mention.is_harmless(clause.places) or _denies_it(mention, clause)
        for clause in mention.clauses_about_it()
    )


def _denies_it(mention: Mention, clause: Clause) -> bool:
    return any(mention.marks[place] and mention.words[place] in known.ANAPHORS for place in clause.places)
