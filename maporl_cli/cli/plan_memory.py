"""The part of a plan that says what each rank needs, whether that fits, and what to change if not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import StringIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from maporl_cli.cli.plan import WIDTH

if TYPE_CHECKING:
    pass

_NO = "does not fit"
ROWS = 16
"""Beyond so many ranks only those of one replica have rows: the others are alike."""


def memory_lines(part: Mapping[str, Any], placement: Mapping[str, Any]) -> Iterator[str]:
    """The memory of a plan as a table, with what it assumes and what to change."""
    if "unknown" in part:
        yield "The memory it takes is not known."
        yield from part["unknown"].splitlines()
        return
    yield from _table(part, placement)
    for sentence in _sentences(part, placement):
        yield from wrap(sentence, WIDTH)
    if part["advice"]:
        # In one line, to be copied.
        from maporl_cli.worker.memory_plan import fix_of  # here, since the worker imports torch

        yield f"Fix: {fix_of(part, placement)}"


def _table(part: Mapping[str, Any], placement: Mapping[str, Any]) -> Iterator[str]:
    # Imported here: the help needs no tables.
    from rich import box
    from rich.console import Console
    from rich.table import Table

    device, figures = part["device"], ("model", "optimizer", "activations", "cache", "peak")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("rank", "host", "replica"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("agents", no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    verdict: list[str] = []
    if device is not None:
        # The only column that may be narrowed: a device's name may be long, and wraps.
        table.add_column(f"{device['name']}, {_size(device['bytes'])}", min_width=len(_NO))
        verdict = ["fits" if part["phases"]["team"]["fits"] else _NO]
    for place, rank in zip(placement["ranks"], part["ranks"], strict=True):
        if len(placement["ranks"]) > ROWS and place["replica"] > 0:
            continue
        who = [str(place["rank"]), str(place["host"]), str(place["replica"]), "\n".join(place["agents"])]
        table.add_row(*who, *(_size(rank[name]) for name in figures), *verdict)
    text = StringIO()
    Console(file=text, width=WIDTH, no_color=True).print(table)
    yield from (line.rstrip() for line in text.getvalue().strip("\n").splitlines() if line.strip())


def _sentences(part: Mapping[str, Any], placement: Mapping[str, Any]) -> Iterator[str]:
    """What the figures mean, and what they come to on a host."""
    device, replicas = part["device"], placement["replicas"]
    if len(placement["ranks"]) > ROWS and replicas > 1:
        others = "replica 1 is" if replicas == 2 else f"replicas 1 to {replicas - 1} are"
        yield f"That is replica 0; {others} like it."
    prompts = sorted(set(part["prompt_tokens"].values()))
    length = f"{prompts[0]:,} to {prompts[-1]:,}" if len(prompts) > 1 else f"{prompts[0]:,}"
    yield (
        f"Assumed are prompts of {length} tokens, and turns as long as they may be. The peak is "
        f"{_size(part['ranks'][0]['process'])} for the process, model, optimizer, and the largest of "
        "activations, cache and a copy of one agent's gradients, which come one after the other."
    )
    if part["verifier_beside"]:
        yield f"The reward's verifier is counted with {part['verifier_beside']}, as one more that learns."
    if device is None:
        yield "What it runs on is not known (model.dtype=fp16 needs a GPU): compare the peaks with yours."
        return
    for name, phase in part["phases"].items():
        if name != "team":
            yield (
                f"Baseline {name}, trained while the team's weights stay: {_size(phase['load'])}, "
                f"{'fits' if phase['fits'] else _NO}."
            )
    if device["shared"]:
        yield (
            f"All ranks of a host share its RAM: {_size(part['phases']['team']['load'])} of "
            f"{_size(device['bytes'])}, of which a plan may fill {_size(device['usable'])}, since freed "
            "memory goes back to the system late."
        )
    if advice := part["advice"]:
        yield "It does not fit. " + (
            f"This does, with {_size(advice['load'])}:"
            if advice["fits"]
            else f"With every setting lowered that helps it would still need {_size(advice['load'])}."
        )


def _size(count: int) -> str:
    """Bytes in the unit that suits them, decimal as devices are sold."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6)):
        if count >= scale:
            return f"{count / scale:.{0 if count >= 100 * scale else 1}f} {unit}"
    return f"{count / 1000:.1f} kB"
