"""The built-in benchmark: questions that no agent of the team can answer alone.

A world (a seed) holds out a fifth of the facts: training never shows them. A question is
drawn around one fact, "the first choice, or the other when the chart says so", and what is
needed to answer it is spread over the team:

- the planner sees the vignette (a complaint, a history, a drug taken) and the task, which decides
  the one of the three that matters;
- the researcher sees guideline sentences on all three, some of them in a superseded edition that
  says otherwise;
- the analyst sees the chart, which decides between first choice and alternative;
- the reporter sees the options, some of them superseded entries of the formulary.

Facts are real and cited (`facts.yaml`); years, superseded editions, charts and vignettes are invented.
This is a benchmark, not medical advice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from numpy.random import Generator

from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Question
from maporl_cli.data.benchmarks import Shown
from maporl_cli.data.clinic import demonstrations
from maporl_cli.data.clinic.cases import CURRENT, TASKS, Case, draw_case, recommended, shuffled
from maporl_cli.data.clinic.facts import Fact, load

TRAINING_QUESTIONS = 4096
EVALUATION_QUESTIONS = 480
HELD_OUT = 0.2
"""The share of the facts that training never asks about."""

FactsByTask = tuple[tuple[Fact, ...], ...]


class Clinic:
    """The benchmark `clinic`; a seed is a world."""

    name = "clinic"
    roles = "clinic"

    def train(self, seed: int) -> Iterator[Question]:
        """Questions about the facts that the world does not hold out."""
        asked, _ = split_facts(seed)
        # The rest of a vignette is of these facts too: what is held out is not even shown.
        drawn = cases(seed, "train", asked, asked, TRAINING_QUESTIONS)
        return (case.question(name) for name, case in drawn)

    def evaluation(self, seed: int) -> Iterator[Question]:
        """Questions about the facts that the world holds out."""
        return (case.question(name) for name, case in evaluation_cases(seed))

    def bounds(self, seed: int) -> Mapping[str, float]:
        """What can be reached on the evaluation questions, computed from them.

        - `chance`: any option.
        - `best_without_evidence`: which entries are current is known, but no guideline, so every
          current one is equally likely. Seeing the options alone tells just as much.
        - `perfect_team`: each agent does its part by rule (`solve`).
        """
        drawn = [case for _, case in evaluation_cases(seed)]
        possible = [sum(option.year in CURRENT for option in case.options) for case in drawn]
        return {
            "chance": sum(1 / len(case.options) for case in drawn) / len(drawn),
            "best_without_evidence": sum(1 / count for count in possible) / len(drawn),
            "perfect_team": sum(solve(case) == case.gold for case in drawn) / len(drawn),
        }

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of questions, prompts and turns."""
        return demonstrations.vocabulary()

    def copying(self, generator: Generator, progress: float) -> tuple[str, str]:
        """Random words, and a part of them to go on with."""
        return demonstrations.copying(generator, progress)

    def demonstration(self, role: str, generator: Generator) -> Shown:
        """A role's turn in the right form, about invented facts."""
        return demonstrations.demonstration(role, generator)


benchmark = Clinic()


def split_facts(seed: int) -> tuple[FactsByTask, FactsByTask]:
    """The facts that training asks about and those held out, by task."""
    asked: list[tuple[Fact, ...]] = []
    held_out: list[tuple[Fact, ...]] = []
    for task in TASKS:
        facts = shuffled(keyed_generator("clinic", "split", seed, task), load().by_task(task))
        size = round(HELD_OUT * len(facts))
        held_out.append(tuple(facts[:size]))
        asked.append(tuple(facts[size:]))
    return tuple(asked), tuple(held_out)


def evaluation_cases(seed: int) -> Iterator[tuple[str, Case]]:
    """The cases of the world's evaluation: about facts held out, beside facts of any kind."""
    _, held_out = split_facts(seed)
    known = tuple(load().by_task(task) for task in TASKS)
    return cases(seed, "eval", held_out, known, EVALUATION_QUESTIONS)


def cases(
    seed: int, part: str, asked: FactsByTask, known: FactsByTask, count: int
) -> Iterator[tuple[str, Case]]:
    """`count` cases about the facts `asked` beside others of `known`; no two alike, each with its id."""
    generator = keyed_generator("clinic", part, seed)
    seen: set[Case] = set()

    def draw() -> Iterator[Case]:
        while True:
            case = draw_case(generator, asked, known, recommended())
            if case not in seen:
                seen.add(case)
                yield case

    for number, case in enumerate(islice(draw(), count)):
        yield f"clinic-{seed}-{part}-{number:05d}", case


def solve(case: Case) -> int:
    """The option that the team's four rules lead to, step by step."""
    key = case.keys[case.task]  # planner: the task decides which part of the vignette matters
    sentence = max(
        (s for s in case.sentences if s.key == key), key=lambda s: s.year
    )  # researcher: the newest
    ruled_out = dict(case.chart)[sentence.when] == "yes"  # analyst: the chart decides the branch
    treatment = sentence.instead if ruled_out else sentence.first
    entries = [option for option in case.options if option.treatment == treatment]
    return case.options.index(max(entries, key=lambda option: option.year))  # reporter: the newest entry
