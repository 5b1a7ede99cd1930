"""For which option a turn stands: by its letter, else by the one option that it decides on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from maporl_cli.agents.answers import is_correct, read_answer
from maporl_cli.core.types import Question, Turn
from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.sentences import READ, Sentence, last_sentence
from maporl_cli.rewards.statements import Statement, affirmed, named, statements
from maporl_cli.rewards.stems import content_stems, stem

_DECIDES = frozenset(
    "best answer choose choice chosen likely should recommend recommends recommended lean favor favors "
    "favour favours points suggests suggest fits fit supports support diagnosis first preferred needs need "
    "indicated indicates means treats treated right correct suitable".split()
)
"""In a sentence with one of these an option is decided on, not only spoken of."""
_LABELLED = re.compile(r"\banswer\s*:", re.IGNORECASE)
_LEANS = re.compile(
    r"\b(?:lean(?:ing)? (?:to|towards?)|go(?:ing)? with|choose|pick|vote for|favou?r|say"
    r"|(?:changed|improved) to) (?:option )?\(?([A-Z])\)?(?=[.,;)]| for (?:now|the moment)|\s*$)",
    re.MULTILINE,
)
_VERDICTS = ("yes", "no", "maybe")
_HEDGES = frozenset(
    "maybe unclear uncertain uncertainty inconclusive insufficient conflicting mixed unknown".split()
)
_SAME = 0.3
"""Share of a yes-or-no question's content words in a statement that answers it."""
_ENOUGH = 0.6
"""Share of an option's content words that a sentence has to have to speak of it."""


def stance(question: Question, turn: Turn) -> str | None:
    """The letter of the option that the turn stands for; the text itself of an open question's answer.

    None where it stands for none, or for several.
    """
    if not question.options:
        return read_answer(question, turn.text) if _LABELLED.search(turn.text) else None
    letter = read_answer(question, turn.text) or _leaning(question, turn.text)
    if letter is not None:
        return letter
    decided = [said for said in statements(turn.text) if _decides(said)]
    decided_on = {
        letter
        for letter in question.options
        if sum(speaks_of(question, letter, said) for said in decided) > 0
    }
    return decided_on.pop() if len(decided_on) == 1 else None


def asks_for_verdict(question: Question) -> bool:
    """Whether the question is one of yes, no and maybe."""
    texts = {text.strip().casefold() for text in question.options.values()}
    return bool(texts) and texts <= set(_VERDICTS)


def gives_gold(question: Question, answer: str | None) -> bool:
    """Whether an answer is the gold one; in words it may say more, but must name the gold one's concepts."""
    if is_correct(question, answer):
        return True
    wanted = frozenset[Concept]() if question.options else named(question.answer)
    return bool(wanted) and wanted <= affirmed(statements(f"It is {answer}."))


def _leaning(question: Question, text: str) -> str | None:
    letters = {match[1] for match in _LEANS.finditer(text[:READ])} & set(question.options)
    return letters.pop() if len(letters) == 1 else None


def argued(question: Question, text: str) -> dict[str, int]:
    """For each option, in how many statements of the text it is affirmed, less those that deny it.

    A statement that decides counts twice: who argues for one option has to speak of the others, too.
    """
    counts = dict.fromkeys(question.options, 0)
    for statement in statements(text):
        for letter in question.options:
            counts[letter] += speaks_of(question, letter, statement) * (1 + _decides(statement))
    return counts


def _decides(statement: Statement) -> bool:
    return not _DECIDES.isdisjoint(statement.sentence.words)


def speaks_of(question: Question, letter: str, statement: Statement) -> int:
    """1 where the statement affirms the option, -1 where it denies it, 0 where it is about something else."""
    verdict = question.options[letter].strip().casefold()
    if verdict in _VERDICTS:
        return int(_verdict(question, statement) == verdict)
    places = _places(question, letter, statement.sentence)
    if not places:
        return 0
    return -1 if sum(statement.denied[place] for place in places) * 2 > len(places) else 1


def _verdict(question: Question, statement: Statement) -> str:
    """What a statement says to a question of yes or no: what it affirms, denies or leaves open of it."""
    asked = content_stems(last_sentence(question.text))
    places = [place for place, word in enumerate(statement.sentence.words) if stem(word) in asked]
    said = {stem(statement.sentence.words[place]) for place in places}
    if not said or len(said) < _SAME * len(asked):
        return ""
    if not _HEDGES.isdisjoint(statement.sentence.words):
        return "maybe"
    return "no" if sum(statement.denied[place] for place in places) * 2 >= len(places) else "yes"


def _places(question: Question, letter: str, sentence: Sentence) -> list[int]:
    """Where the sentence names the option: all of its own concepts, or most of its own words."""
    concepts, wanted = _own(tuple(question.options.items()), question.text, letter)
    if concepts:
        found = [mention for mention in mentions(sentence.words) if mention.concept in concepts]
        if {mention.concept for mention in found} == concepts:
            return [place for mention in found for place in range(mention.start, mention.end)]
    stems = _stems_of(sentence.words)
    shared = wanted.intersection(stems)
    if shared and len(shared) >= _ENOUGH * len(wanted):
        return [place for place, word in enumerate(stems) if word in wanted]
    return []


@lru_cache(maxsize=8192)
def _own(
    options: tuple[tuple[str, str], ...], asked: str, letter: str
) -> tuple[frozenset[Concept], frozenset[str]]:
    """What tells an option from the others: concepts that neither they nor the question name, and stems.

    All of its stems, where it has none of its own.
    """
    text = dict(options)[letter]
    others = [other for name, other in options if name != letter]
    stems = content_stems(text)
    own = stems - frozenset[str]().union(*map(content_stems, others))
    return named(text) - all_named(others) - named(asked), own or stems


@lru_cache(maxsize=16384)
def _stems_of(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(stem, words))


def all_named(texts: Iterable[str]) -> frozenset[Concept]:
    """What any of the texts names."""
    return frozenset[Concept]().union(*map(named, texts))
