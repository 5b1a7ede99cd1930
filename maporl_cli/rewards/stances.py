"""For which option a turn stands: by its letter, else by the one option that it decides on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from maporl_cli.agents.answers import is_correct, read_answer
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.rewards.concepts import Concept, mentions
from maporl_cli.rewards.directions import opposed
from maporl_cli.rewards.drug_classes import members_of
from maporl_cli.rewards.sentences import READ, Sentence, last_sentence, sentences
from maporl_cli.rewards.statements import Statement, affirmed, named, statements, substance
from maporl_cli.rewards.stems import content_stems, stem

_DECIDES = frozenset(
    "best answer choose choice chosen likely should recommend recommends recommended lean favor favors "
    "favour favours points suggests suggest fits fit supports support diagnosis first preferred needs need "
    "indicated indicates means treats treated right correct suitable logical sensible".split()
)
"""In a sentence with one of these an option is decided on, not only spoken of."""
DECIDED = 2
"""What a statement that decides on an option, or denies it, counts in `argued`."""
_LABELS = frozenset(
    "first drug choice best answer diagnosis hence therefore thus conclusion treatment".split()
)
"""In a few words without a verb that name one option, these decide on it."""
_CRITICISES = frozenset(
    "poor risky harmful dangerous worse worsen worsens worsened useless ineffective inferior wrong "
    "unsafe bad aggravate aggravates overload overloads kill kills harm harms excessive unnecessary "
    "futile outdated mistake doubt doubtful hardly cost costs waste wastes delays overkill "
    "hazardous misses promotes provokes precipitates lose loses".split()
)
"""Words that speak ill of an act, where the question asks for one."""
_SPEAKER = frozenset("i we".split())
_WOULD = frozenset("i'd we'd".split())
_CONJUNCTIONS = frozenset("but whereas while although though because since so yet however".split())
_NOT = frozenset("not no never cannot without doesn't don't isn't won't wouldn't nothing".split())
_STANDS_FOR = frozenset("it this that it's that's".split())
_NEAR, _ABOVE = 3, 2
_ACT = re.compile(
    r"\b(?:treat\w*|therap\w*|manage\w*|drug|medication|step|given?|intervention|prescri\w*|choice|test"
    r"|investigation|study|perform\w*|do|done|start\w*)\b",
    re.IGNORECASE,
)
_HARM = re.compile(
    r"contraindicat|\bavoid|discontinu|\bharm|advers|side effect|complication|caus|except|least|\bnot\b"
    r"|mechanism|toxic|risk|responsible|explain",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"\banswer\s*:", re.IGNORECASE)
_LEANS = re.compile(
    r"\b(?:lean(?:ing)? (?:to|towards?)|go(?:ing)? (?:with|for)|choose|pick|opt for|favou?r|say|support|back"
    r"|settle (?:on|for)|end(?:ed)? up (?:on|with)|come down on|land(?:ed)? on|(?:stay|stick)(?:ing)? with"
    r"|towards|(?:my )?(?:vote|pick|choice)(?: is|:)?(?: for)?|(?:changed|improved) to)"
    r" (?:option )?\(?([A-Z])\)?(?=[.,;)]| (?:over|as|because|since|for (?:now|the moment))\b|\s*$)"
    r"|^([A-Z]) (?:from|for) me\b",
    re.MULTILINE,
)
_CONCLUDES = re.compile(
    r"(?:(?:[.,:;]\s+|\b(?:is|be|are|leaves|remains|hence|therefore|thus|so|then)\s+(?:now\s+)?)\(?([A-Z])\)?"
    r"(?:\s+then)?|[.;]\s+([A-Z])\s+is\s+(?:the\s+)?(?:best|right|safest|correct)(?:\s+(?:one|choice|answer))?)[.!]?$"
)
_VERDICTS = ("yes", "no", "maybe")
_HEDGES = frozenset(
    "maybe unclear uncertain uncertainty inconclusive insufficient conflicting mixed unknown".split()
)
_OPEN = re.compile(
    r"\b(?:(?:do|does|did|is|are|was|were) not (?:yet )?(?:known?|clear|settled|certain)|don't know"
    r"|remains? to be"
    r"|both directions|either way|no consensus|trials disagree|too (?:thin|few|small|weak|sparse)"
    r"|not enough|cannot be (?:told|said|answered|judged))\b",
    re.IGNORECASE,
)
_NULL = re.compile(
    r"\b(?:unchanged|no (?:\w+ )?(?:difference|effect|benefit|change|impact)|neutral|useless|futile|equalled"
    r"|equaled|(?:equal|identical|comparable|similar) (?:in|with|between|to|under|one|mortality|rates?)"
    r"|(?:was|were|is|are|stay\w*|remain\w*|found|had) (?:about |much |nearly |just )?(?:the same|equal"
    r"|similar|identical|comparable)|fail(?:ed|s)? to)\b",
    re.IGNORECASE,
)
"""What was looked for was not found."""
_SAME = 0.3
"""Share of a yes-or-no question's content words in a statement that answers it."""
_WORDY = 3
"""Own words that make an option one that may be told of in several sentences."""
_ENOUGH = 0.6
"""Share of an option's content words that a sentence has to have to speak of it."""


def stance(question: Question, turn: Turn) -> str | None:
    """The letter of the option that the turn stands for; the text itself of an open question's answer.

    None where it stands for none, or for several.
    """
    if not question.options:
        return read_answer(question, turn.text) if _LABELLED.search(turn.text) else None
    labelled = read_answer(question, turn.text) if _LABELLED.search(turn.text) else None
    letter = (
        labelled
        or _concluding(question, turn.text)
        or _leaning(question, turn.text)
        or read_answer(question, turn.text)
    )
    if letter is not None:
        return letter
    decided = [said for said in statements(turn.text) if _decides(said)]
    decided_on = {
        letter
        for letter in question.options
        if sum(speaks_of(question, letter, said) for said in decided) > 0
    }
    return decided_on.pop() if len(decided_on) == 1 else None


def told_of(question: Question, letter: str, said: Iterable[Statement]) -> float:
    """The share of an option's own words that the statements have, taken together; 0 where they are few: such
    an option is named, or it is not."""
    _, wanted = _own(tuple(question.options.items()), question.text, letter)
    spoken = {word for statement in said for word in _stems_of(statement.sentence.words)}
    return len(wanted & spoken) / len(wanted) if len(wanted) >= _WORDY else 0.0


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


def is_judged(episode: Episode) -> bool:
    """Whether anything is known of how right the answer is."""
    return episode.question.has_gold or episode.verified is not None


def chance_right(episode: Episode) -> float:
    """How likely the answer is right: 0 or 1 beside a gold answer, else what the verifier says.

    Raises:
        ValueError: there is no gold answer, and the verifier has said nothing.
    """
    if episode.question.has_gold:
        return float(gives_gold(episode.question, episode.answer))
    if episode.verified is None:
        raise ValueError(f"nobody has judged the answer to question {episode.question.id}")
    return 0.0 if episode.answer is None else episode.verified


def _concluding(question: Question, text: str) -> str | None:
    """The letter that the text ends with: "As he stands, D.", "What remains is A."."""
    found = _CONCLUDES.search(text[:READ].rstrip())
    letter = (found[1] or found[2]) if found else None
    return letter if letter in question.options else None


def _leaning(question: Question, text: str) -> str | None:
    """The letter that the text leans to last: what it said before is a thought on the way."""
    found = [match[1] or match[2] for match in _LEANS.finditer(text[:READ])]
    return next((letter for letter in reversed(found) if letter in question.options), None)


def argued(question: Question, text: str) -> dict[str, int]:
    """For each option, how far the text speaks for it: 1 a statement that affirms it, 2 one that decides on
    it, -1 one that speaks ill of it, -2 one that denies it.

    A label ("Drug of choice: X") decides as well, without a verb.
    """
    counts = dict.fromkeys(question.options, 0)
    before: dict[str, int] = {}
    for statement in statements(text):
        told = pleaded(question, statement)
        if not told and len(before) == 1 and _goes_on(statement):
            told = dict.fromkeys(before, DECIDED)  # "X clears the toxin. It is what she needs"
        for letter, weight in told.items():
            counts[letter] += weight
        before = told
    for sentence in sentences(text):
        if not sentence.says and not _LABELS.isdisjoint(sentence.words):
            labelled = [letter for letter in question.options if _places(question, letter, sentence)]
            if len(labelled) == 1:
                counts[labelled[0]] += DECIDED
    return counts


def pleaded(question: Question, statement: Statement) -> dict[str, int]:
    """For each option that the statement is about, whether it speaks for it or against it."""
    about = {
        letter: said for letter in question.options if (said := speaks_of(question, letter, statement)) != 0
    }
    if asks_for_verdict(question):
        return dict.fromkeys(about, DECIDED)
    places = {letter: _places(question, letter, statement.sentence) for letter in about}
    told: dict[str, int] = {}
    for letter, said in about.items():
        words = _clause(statement.sentence, places, letter)
        if said < 0:
            told[letter] = -DECIDED
        elif any(
            _settles(statement.sentence.words, place) and not statement.denied[place] for place in words
        ):
            told[letter] = DECIDED
        elif _asks_for_act(question.text) and _is_criticised(statement.sentence, words, places[letter]):
            told[letter] = -1
        elif substance(question, statement, concepts=False):  # "X has a role" says nothing for X
            told[letter] = 1
    return told


def _settles(words: Sequence[str], place: int) -> bool:
    """Whether a word decides: one of those that do, or "would" where it is the speaker who would."""
    if words[place] == "would":
        return place > 0 and words[place - 1] in _SPEAKER
    return words[place] in _DECIDES or words[place] in _WOULD


def _clause(sentence: Sentence, places: Mapping[str, Sequence[int]], letter: str) -> range:
    """The words around an option that are said of it: all of them, where no other is named."""
    others = {place for other, found in places.items() if other != letter for place in found}
    first, last = min(places[letter]), max(places[letter])
    start = max((place for place in range(first + 1) if _parts(sentence, place)), default=0)
    end = min(
        (place for place in range(last + 1, len(sentence.words)) if _parts(sentence, place)), default=None
    )
    clause = range(start, len(sentence.words) if end is None else end)
    # "X, Y and Z are unsafe": a comma among the options of a row parts nothing.
    return range(len(sentence.words)) if not others or not others.isdisjoint(clause) else clause


def _parts(sentence: Sentence, place: int) -> bool:
    return place in sentence.breaks or sentence.words[place] in _CONJUNCTIONS


def _is_criticised(sentence: Sentence, words: range, places: Sequence[int]) -> bool:
    """Whether ill is said of what stands at the places, or another is set above it."""
    said = sentence.words
    if {"than", "over", "beats"} & set(said[max(0, min(places) - _ABOVE) : min(places)]):
        return True
    return any(
        said[place] in _CRITICISES and _NOT.isdisjoint(said[max(0, place - _NEAR) : place]) for place in words
    )


@lru_cache(maxsize=1024)
def _asks_for_act(text: str) -> bool:
    """Whether a question asks what to do; where it asks for a harm, to tell of one is to answer."""
    asked = last_sentence(text)
    return _ACT.search(asked) is not None and _HARM.search(asked) is None


def _goes_on(statement: Statement) -> bool:
    """Whether it decides on what the sentence before is about."""
    return statement.sentence.words[0] in _STANDS_FOR and _decides(statement) and not any(statement.denied)


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
    text = statement.sentence.text
    if not _HEDGES.isdisjoint(statement.sentence.words) or _OPEN.search(text):
        return "maybe"
    if _NULL.search(text) or opposed(text, last_sentence(question.text)):
        return "no"
    return "no" if sum(statement.denied[place] for place in places) * 2 >= len(places) else "yes"


def _places(question: Question, letter: str, sentence: Sentence) -> list[int]:
    """Where the sentence names the option: half of its own concepts, or most of its own words."""
    concepts, wanted = _own(tuple(question.options.items()), question.text, letter)
    if concepts:
        found = [mention for mention in mentions(sentence.words) if mention.concept in concepts]
        meant = {concepts[mention.concept] for mention in found}
        if 2 * len(meant) >= len(set(concepts.values())):
            return [place for mention in found for place in range(mention.start, mention.end)]
    stems = _stems_of(sentence.words)
    shared = wanted.intersection(stems)
    if shared and len(shared) >= _ENOUGH * len(wanted):
        return [place for place, word in enumerate(stems) if word in wanted]
    return []


@lru_cache(maxsize=8192)
def _own(
    options: tuple[tuple[str, str], ...], asked: str, letter: str
) -> tuple[Mapping[Concept, Concept], frozenset[str]]:
    """What tells an option from the others: concepts that neither they nor the question name, and stems.

    Returns:
        the concepts that name it, each with the concept of the option that it stands for: itself, or the
        class of drugs that it belongs to; and the stems, all of them where it has none of its own.
    """
    text = dict(options)[letter]
    others = [other for name, other in options if name != letter]
    stems = content_stems(text)
    own = stems - frozenset[str]().union(*map(content_stems, others))
    elsewhere = all_named(others) | named(asked)
    concepts = named(text) - elsewhere
    drugs = {drug: concept for concept in concepts for drug in members_of(concept) - elsewhere}
    return drugs | {concept: concept for concept in concepts}, own or stems


@lru_cache(maxsize=16384)
def _stems_of(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(stem, words))


def all_named(texts: Iterable[str]) -> frozenset[Concept]:
    """What any of the texts names."""
    return frozenset[Concept]().union(*map(named, texts))
