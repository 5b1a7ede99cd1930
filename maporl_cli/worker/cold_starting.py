"""Cold-starting tiny policies: one base learns every role's format; all agents are given its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from numpy.random import Generator

from maporl_cli.agents.policy import Policy
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.core.config import Config
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Turn
from maporl_cli.data.benchmarks import ColdStarts
from maporl_cli.training.cold_start import Demonstration, imitate


def cold_start(
    base: Policy,
    book: RoleBook,
    roles: Sequence[str],
    benchmark: ColdStarts,
    config: Config,
    on_step: Callable[[str, int, int, float], None],
) -> None:
    """Train a policy on demonstrations of `roles`.

    Every agent of a team, and the baselines of the same run, start from its weights.

    Args:
        base: a tiny policy; changed in place.
        roles: those of the team and of its baselines.
        benchmark: gives the demonstrations.
        on_step: told (phase, step, steps, loss in nats a token).
    """
    start = config.train.cold_start
    shown = [book.role(name) for name in dict.fromkeys(roles)]
    phases = (
        ("copying", start.copy_steps, 0.0, _copying(base, len(shown), benchmark, config)),
        ("roles", start.role_steps, 0.4, _roles(base, book, shown, benchmark, config)),
    )
    for phase, steps, decay, batches in phases:
        imitate(
            base,
            batches,
            steps=steps,
            learning_rate=start.learning_rate,
            decay=decay,
            on_step=lambda step, loss, phase=phase, steps=steps: on_step(phase, step, steps, loss),
        )


Parts = list[list[Demonstration]]


def _copying(policy: Policy, roles: int, benchmark: ColdStarts, config: Config) -> Iterator[Parts]:
    steps = config.train.cold_start.copy_steps
    generator = keyed_generator("copying", config.run.seed)
    for step in range(steps):
        # As many as the roles' demonstrations together: these are short.
        count = config.train.cold_start.batch_size * roles
        yield [_copies(policy, benchmark, generator, step / steps, count)]


def _copies(
    policy: Policy, benchmark: ColdStarts, generator: Generator, progress: float, count: int
) -> list[Demonstration]:
    return [_demonstration(policy, *benchmark.copying(generator, progress)) for _ in range(count)]


def _roles(
    policy: Policy, book: RoleBook, roles: Sequence[Role], benchmark: ColdStarts, config: Config
) -> Iterator[Parts]:
    generator = keyed_generator("roles", config.run.seed)
    while True:
        # Some copying stays in, or it fades while the forms are learned.
        parts: Parts = [_copies(policy, benchmark, generator, 1.0, config.train.cold_start.batch_size)]
        for role in roles:
            part: list[Demonstration] = []
            for _ in range(config.train.cold_start.batch_size):
                shown = benchmark.demonstration(role.name, generator)
                heard = [Turn(agent, 0, (), (), (), text, True, 0) for agent, text in shown.heard]
                prompt = render_prompt(book, role, shown.question, shown.question.evidence, heard)
                part.append(_demonstration(policy, prompt, shown.reply))
            parts.append(part)
        yield parts


def _demonstration(policy: Policy, prompt: str, reply: str) -> Demonstration:
    return Demonstration(policy.encode(prompt), policy.encode_turn(reply))
