"""What tiny policies imitate before they learn: each role's form, with uninformed content.

Facts are invented for every demonstration, so none teaches medicine; and each role does its own
part by a coin: the planner names any part of the vignette, the researcher quotes either edition,
the analyst takes either branch, the reporter either entry of the formulary. What is shown is how to copy.
"""

from __future__ import annotations

from functools import cache

from numpy.random import Generator

from maporl_cli.core.errors import ConfigError
from maporl_cli.data.benchmarks import Shown
from maporl_cli.data.clinic.cases import (
    CURRENT,
    FIELDS,
    LETTERS,
    SUPERSEDED,
    TASKS,
    Case,
    chart_entries,
    distinct,
    draw_case,
    pick,
    treatments,
)
from maporl_cli.data.clinic.facts import Fact, load

TURN_WORDS = ("check", "cite", "first", "instead", "when", "answer", "yes", "no", "task")
SPEAK = {role: f"<{role}>" for role in ("planner", "researcher", "analyst", "reporter", "single")}
"""The word that ends a prompt and says whose turn it is."""

_PIECE = 5  # how many words are copied at once
_FOLLOW = 0.97  # how often a demonstrated turn follows the one before
_UNHEARD = 0.15  # how often a reporter heard nobody and ticks any option: the start of the reporter alone


@cache
def keys() -> tuple[tuple[str, ...], ...]:
    """Every word a vignette may hold, by field."""
    return tuple(tuple(fact.key for fact in load().by_task(task)) for task in TASKS)


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the benchmark, in a fixed order."""
    return (
        *TURN_WORDS,
        *TASKS,
        *FIELDS,
        *(f"({letter})" for letter in LETTERS),
        *SPEAK.values(),
        *CURRENT,
        *SUPERSEDED,
        *chart_entries(),
        *(key for field in keys() for key in field),
        *treatments(),
    )


def demonstration(role: str, generator: Generator) -> Shown:
    """A turn of `role` on an invented case, after turns like it.

    Raises:
        ConfigError: the benchmark has no such role.
    """
    case = _invented(generator)
    question = case.question("demonstration")
    if role == "single" or (role == "reporter" and generator.random() < _UNHEARD):
        option = int(generator.integers(len(case.options)))
        return Shown(question, (), _answer(case, case.options[option].treatment, option))
    field = int(generator.integers(len(FIELDS)))
    plan = f"check {TASKS[case.task]} {FIELDS[field]} {case.keys[field]}"
    if role == "planner":
        return Shown(question, (), plan)
    key = case.keys[field]
    if role == "researcher" and generator.random() > _FOLLOW:
        key = pick(generator, case.keys)
    sentence = pick(generator, [sentence for sentence in case.sentences if sentence.key == key])
    note = sentence.cited
    if role == "researcher":
        return Shown(question, (("planner", plan),), note)
    status = dict(case.chart).get(sentence.when)
    if status is None or (role == "analyst" and generator.random() > _FOLLOW):
        status = pick(generator, ("yes", "no"))
    branch, choice = pick(generator, (("first", sentence.first), ("instead", sentence.instead)))
    heard = (("planner", plan), ("researcher", note))
    if role == "analyst":
        return Shown(question, heard, f"{sentence.when} {status} {branch} {choice}")
    if role != "reporter":
        raise ConfigError(
            f"The benchmark clinic cannot demonstrate the role {role!r}.",
            where="team.agents",
            why=f"it has demonstrations for {', '.join(SPEAK)}",
            fix="leave the agent out, or use pretrained models (--preset smollm2)",
        )
    chosen, treatment = _advice(generator, case, choice)
    report = _report(generator, case, treatment)
    analysis = f"{sentence.when} {status} {branch} {chosen}"
    return Shown(question, (*heard, ("analyst", analysis)), report)


def copying(generator: Generator, progress: float) -> tuple[str, str]:
    """A list of distinct random words and one of them, and the words that follow it in the list.

    The list grows from 8 to 36 words over the second half of the phase: a policy that starts with
    long lists never finds out that looking the word up helps.
    """
    if progress > 0.6 and generator.random() < 0.5:
        return _copied_rows(generator)
    length = 8 + int(28 * min(1.0, max(0.0, (progress - 0.55) / 0.35)))
    words = distinct(generator, vocabulary(), length)
    start = int(generator.integers(length - _PIECE))
    return " ".join([*words, words[start]]), " ".join(words[start + 1 : start + 1 + _PIECE])


def _copied_rows(generator: Generator) -> tuple[str, str]:
    """Rows of random words, and one of them again with the little words that a citation puts between them.

    A little word stands in no row, so what follows it is found by the word before it.
    """
    words = distinct(generator, vocabulary(), 5 * int(generator.integers(2, 7)))
    start = 5 * int(generator.integers(len(words) // 5))
    key, year, first, instead, when = words[start : start + 5]
    return " ".join([*words, key]), (f"{year} first {first} instead {instead} when {when}")


def _invented(generator: Generator) -> Case:
    """A case whose facts hold nowhere else: real keys, random recommendations."""
    words = distinct(generator, treatments(), 2 * len(TASKS))
    facts = tuple(
        (
            Fact(
                task,
                pick(generator, field),
                words.pop(),
                words.pop(),
                pick(generator, chart_entries()),
                "invented",
            ),
        )
        for task, field in zip(TASKS, keys(), strict=True)
    )
    return draw_case(generator, facts, facts, [treatments()] * len(TASKS))


def _advice(generator: Generator, case: Case, choice: str) -> tuple[str, str]:
    """What the analyst is shown to have chosen, and the treatment the reporter restates.

    Mostly the same one, which is among the options; now and then the choice is not on offer.
    """
    offered = sorted({option.treatment for option in case.options})
    treatment = pick(generator, offered)
    draw = generator.random()
    if draw < 0.9:
        return treatment, treatment
    if draw < 0.95:
        return pick(generator, offered), treatment
    if choice in offered:
        choice = pick(generator, [word for word in treatments() if word not in offered])
    return choice, choice


def _report(generator: Generator, case: Case, treatment: str) -> str:
    matching = [index for index, option in enumerate(case.options) if option.treatment == treatment]
    option = pick(generator, matching or range(len(case.options)))  # which entry: a coin
    return _answer(case, treatment, option)


def _answer(case: Case, treatment: str, option: int) -> str:
    return f"answer {treatment} {case.options[option].year} ({LETTERS[option]})"
