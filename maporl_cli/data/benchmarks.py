"""The benchmarks that are generated or bundled, by name.

A benchmark is one file and one line of registration: a built-in one is a line in `_BUILT_IN`
(imported when it is first asked for), a plug-in calls `register_benchmark`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from numpy.random import Generator

from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Question


class Benchmark(Protocol):
    """Questions to train on and questions to be judged by."""

    @property
    def name(self) -> str:
        """What `data.train` and `data.eval` call it."""
        ...

    @property
    def roles(self) -> str:
        """The role book it is made for (`guide`, `clinic`)."""
        ...

    def train(self, seed: int) -> Iterator[Question]:
        """Training questions, deterministic by `seed`; any first part is a fair sample of them."""
        ...

    def evaluation(self, seed: int) -> Iterator[Question]:
        """Evaluation questions, disjoint from `train(seed)`; any first part is a fair sample."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A benchmark that knows what can be reached on it."""

    def bounds(self, seed: int) -> Mapping[str, float]:
        """Accuracy by name, such as chance and a perfect team's."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """What a demonstration shows: a question, what teammates said before, and the turn to imitate."""

    question: Question
    heard: tuple[tuple[str, str], ...]
    """(agent, text), in order."""
    reply: str


@runtime_checkable
class ColdStarts(Protocol):
    """A benchmark small enough for tiny policies: a closed vocabulary, and demonstrations of format."""

    def vocabulary(self) -> tuple[str, ...]:
        """Every word that questions, prompts and well-formed turns are made of."""
        ...

    def copying(self, generator: Generator, progress: float) -> tuple[str, str]:
        """A (prompt, reply) about copying random words; harder as `progress` goes from 0 to 1."""
        ...

    def demonstration(self, role: str, generator: Generator) -> Shown:
        """A turn of this role whose form is right and whose content is uninformed."""
        ...


# Name to "module:attribute".
_BUILT_IN: dict[str, str] = {"clinic": "maporl_cli.data.clinic.world:benchmark"}
_registered: dict[str, Benchmark] = {}


def register_benchmark(benchmark: Benchmark) -> None:
    """Makes `benchmark` available under its name.

    Raises:
        ConfigError: another benchmark has the name.
    """
    name = benchmark.name
    if name in _BUILT_IN or _registered.get(name, benchmark) is not benchmark:
        raise ConfigError(
            f"Two benchmarks are named {name!r}.",
            where=type(benchmark).__module__,
            fix="give the plug-in's benchmark a name of its own.",
        )
    _registered[name] = benchmark


def benchmark_names() -> tuple[str, ...]:
    """Every known name, sorted."""
    return tuple(sorted({*_BUILT_IN, *_registered}))


def benchmark(name: str) -> Benchmark:
    """The benchmark called `name`.

    Raises:
        ConfigError: there is none; the nearest name is offered.
    """
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        return cast(Benchmark, getattr(importlib.import_module(module), attribute))
    near = difflib.get_close_matches(name, benchmark_names(), n=1)
    raise ConfigError(
        f"There is no benchmark or file {name!r}.",
        where="data",
        why=f"the benchmarks are {', '.join(benchmark_names())}",
        fix=f"did you mean {near[0]!r}?" if near else "name a benchmark, or the path of a file of questions.",
    )
