"""One clinic question and how it is drawn: vignette, guideline sentences, chart and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from numpy.random import Generator

from maporl_cli.core.types import Question, Snippet
from maporl_cli.data.clinic.facts import Fact, Task, load

TASKS: tuple[Task, ...] = ("diagnosis", "treatment", "medication")
FIELDS = ("complaint", "history", "takes")
"""The part of the vignette that each task is about, in the order of `TASKS`."""
CURRENT = tuple(str(year) for year in range(2016, 2026))
SUPERSEDED = tuple(str(year) for year in range(2002, 2012))
LETTERS = "ABCDE"

T = TypeVar("T")

_TWIN = 0.5  # how often a sentence has a superseded edition beside it
_OTHER_BRANCH = 0.9  # how often the treatment of the other branch is among the options
_TWIN_DRUG = 0.4  # how often a superseded edition's treatment is, where there is one
_TWO_STALE = 0.25  # how often two options are superseded formulary entries, instead of one


@dataclass(frozen=True, slots=True)
class Sentence:
    """A guideline sentence: an edition of what is recommended for a key."""

    key: str
    year: str
    first: str
    instead: str
    when: str

    @property
    def text(self) -> str:
        """As it stands in the evidence: a row of a table, where no little word stands twice."""
        return f"{self.key} {self.year} {self.first} {self.instead} {self.when}"

    @property
    def cited(self) -> str:
        """As the researcher cites it, each part by its name."""
        return f"cite {self.key} {self.year} first {self.first} instead {self.instead} when {self.when}"


@dataclass(frozen=True, slots=True)
class Option:
    """An answer: a treatment as an edition of the formulary lists it."""

    treatment: str
    year: str

    @property
    def text(self) -> str:
        """As it stands among the options."""
        return f"{self.treatment} {self.year}"


@dataclass(frozen=True, slots=True)
class Case:
    """A question with all that it was made from.

    Attributes:
        task: index into `TASKS` and `FIELDS`.
        keys: the vignette's complaint, history and drug.
        sentences: the evidence pool, in the order shown.
        chart: entries with "yes" or "no", in the order shown.
        options: in the order shown; `gold` is the index of the right one.
    """

    task: int
    keys: tuple[str, str, str]
    sentences: tuple[Sentence, ...]
    chart: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]
    gold: int

    def vignette(self) -> str:
        """What the planner sees."""
        fields = " ".join(f"{field} {key}" for field, key in zip(FIELDS, self.keys, strict=True))
        return f"task {TASKS[self.task]} {fields}"

    def question(self, name: str) -> Question:
        """The case in the shape of every other question."""
        return Question(
            id=name,
            text=self.vignette(),
            options={letter: option.text for letter, option in zip(LETTERS, self.options, strict=True)},
            answer=LETTERS[self.gold],
            context=" ".join(f"{entry} {status}" for entry, status in self.chart),
            evidence=tuple(Snippet(sentence.year, sentence.text) for sentence in self.sentences),
            labels={"medical_task": TASKS[self.task]},
        )


def draw_case(
    generator: Generator,
    asked: Sequence[Sequence[Fact]],
    known: Sequence[Sequence[Fact]],
    offered: Sequence[Sequence[str]],
) -> Case:
    """One case.

    Args:
        asked: the facts that may be asked about, by task.
        known: the facts that the rest of the vignette is drawn from, by task.
        offered: what superseded editions recommend and wrong options offer, by task: the same kind
            of thing as the right answer, or its kind would give it away.
    """
    task = int(generator.integers(len(TASKS)))
    while True:
        facts = [pick(generator, asked[index] if index == task else known[index]) for index in range(3)]
        used = {word for fact in facts for word in (fact.first, fact.instead)}
        if len(used) == 6:
            break
    sentences, twin = _sentences(generator, facts, task, used, offered)
    fact = facts[task]
    chart = _chart(generator, fact, sentences)
    branches = (fact.first, fact.instead) if dict(chart)[fact.when] == "no" else (fact.instead, fact.first)
    options, gold = _options(generator, branches, sentences, twin, used, offered[task])
    keys = (facts[0].key, facts[1].key, facts[2].key)
    return Case(task, keys, sentences, chart, options, gold)


def _sentences(
    generator: Generator, facts: Sequence[Fact], task: int, used: set[str], offered: Sequence[Sequence[str]]
) -> tuple[tuple[Sentence, ...], Sentence | None]:
    """The evidence in random order, and the superseded edition of the sentence that matters, if any."""
    current, superseded = distinct(generator, CURRENT, 3), distinct(generator, SUPERSEDED, 3)
    sentences: list[Sentence] = []
    misleading = None
    for index, fact in enumerate(facts):
        sentences.append(Sentence(fact.key, current[index], fact.first, fact.instead, fact.when))
        if generator.random() < _TWIN:
            first, instead = fresh(generator, offered[index], used, 2)
            when = fact.when if generator.random() < 0.5 else pick(generator, chart_entries())
            sentences.append(Sentence(fact.key, superseded[index], first, instead, when))
            if index == task:
                misleading = sentences[-1]
    return tuple(shuffled(generator, sentences)), misleading


def _chart(generator: Generator, fact: Fact, sentences: Sequence[Sentence]) -> tuple[tuple[str, str], ...]:
    """Four chart entries, the one that matters among them, each yes or no by a coin."""
    mentioned = shuffled(generator, [sentence.when for sentence in sentences])
    entries = list(dict.fromkeys([fact.when, *mentioned, *shuffled(generator, chart_entries())]))[:4]
    return tuple((entry, pick(generator, ("yes", "no"))) for entry in shuffled(generator, entries))


def _options(
    generator: Generator,
    branches: tuple[str, str],
    sentences: Sequence[Sentence],
    twin: Sentence | None,
    used: set[str],
    offered: Sequence[str],
) -> tuple[tuple[Option, ...], int]:
    """Five options: some treatments as the formulary lists them now, one or two of these as it once did.

    Which treatments have a superseded entry beside the current one is drawn without regard to
    which is right, so the options alone tell no more than that superseded ones are wrong.
    """
    right, other = branches
    stale = 2 if generator.random() < _TWO_STALE else 1
    wrong = [other] if generator.random() < _OTHER_BRANCH else []
    if twin is not None and generator.random() < _TWIN_DRUG:
        wrong.append(pick(generator, (twin.first, twin.instead)))
    wrong += fresh(generator, offered, used, max(0, 4 - stale - len(wrong)))
    entries = [right, *wrong[: 4 - stale]]
    # No year of the evidence comes back among the options: a word seen twice leads two ways.
    cited = {sentence.year for sentence in sentences}
    now = shuffled(generator, [year for year in CURRENT if year not in cited])
    once = shuffled(generator, [year for year in SUPERSEDED if year not in cited])
    options = [Option(treatment, now.pop()) for treatment in entries]
    options += [Option(treatment, once.pop()) for treatment in shuffled(generator, entries)[:stale]]
    gold = options[0]
    options = shuffled(generator, options)
    return tuple(options), options.index(gold)


@cache
def recommended() -> tuple[tuple[str, ...], ...]:
    """Every test, treatment and drug that any fact recommends, by task."""
    return tuple(
        tuple(dict.fromkeys(word for fact in load().by_task(task) for word in (fact.first, fact.instead)))
        for task in TASKS
    )


@cache
def treatments() -> tuple[str, ...]:
    """All of `recommended`, each once."""
    return tuple(dict.fromkeys(word for words in recommended() for word in words))


@cache
def chart_entries() -> tuple[str, ...]:
    """Every contraindication a chart may hold."""
    return tuple(entry.name for entry in load().contraindications)


def pick(generator: Generator, items: Sequence[T]) -> T:
    """One of `items`, each equally likely."""
    return items[int(generator.integers(len(items)))]


def distinct(generator: Generator, items: Sequence[T], count: int) -> list[T]:
    """`count` different ones of `items`, in random order."""
    # By index: numpy would make an array of all the words each time.
    return [items[place] for place in generator.choice(len(items), count, replace=False).tolist()]


def shuffled(generator: Generator, items: Sequence[T]) -> list[T]:
    """`items` in random order."""
    return [items[int(place)] for place in generator.permutation(len(items))]


def fresh(generator: Generator, words: Sequence[str], used: set[str], count: int) -> list[str]:
    """`count` of `words` that are not `used` yet; they are from now on."""
    found: list[str] = []
    while len(found) < count:
        word = pick(generator, words)
        if word not in used:
            used.add(word)
            found.append(word)
    return found
