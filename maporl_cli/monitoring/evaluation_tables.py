"""An evaluation's figures in tables, a column a system: what was measured of none of them has no row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maporl_cli.monitoring.evaluation_panels import Figures
from maporl_cli.monitoring.wording import percent


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: what it is, and a cell for each system."""

    label: str
    cells: Sequence[str]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one subject."""

    title: str
    rows: Sequence[Row]


Show = Callable[[Any], str]


def figure_groups(systems: Sequence[Figures]) -> list[Group]:
    """What is told of each system beyond its accuracy, by subject."""
    components = _keys(systems, "reward", "components")
    letters = sorted(_keys(systems, "letters"), key=lambda letter: (not letter, letter))
    groups: dict[str, list[tuple[str, tuple[str, ...], Show]]] = {
        "Cost, a question": [
            ("tokens read and sampled", ("tokens_per_question",), _whole),
            ("of these sampled", ("sampled_per_question",), _whole),
            ("turns", ("turns_per_question",), "{:.1f}".format),
            ("votes", ("votes",), str),
            ("seconds, of those asked last", ("seconds_per_question",), "{:.2g}".format),
        ],
        "Accuracy": [
            ("of each seed", ("by_seed",), lambda shares: ", ".join(map(percent, shares))),
            ("macro-F1 of yes, no and maybe", ("macro_f1",), _three),
        ],
        "As MedXpertQA's published evaluation reads it": [
            ("accuracy", ("official", "accuracy"), percent),
            ("unreadable", ("official", "invalid_share"), percent),
            ("reads what we read", ("official", "agrees"), percent),
        ],
        "Stated confidence": [
            ("answers that state one", ("calibration", "stated"), percent),
            ("Brier score", ("calibration", "brier"), _three),
            ("expected calibration error", ("calibration", "ece"), _three),
        ],
        "Safety": [
            ("emergencies passed over", ("safety",), _passed_over),
            ("contraindicated advice", ("safety", "contraindicated"), str),
            ("exactly one disclaimer", ("safety", "one_disclaimer"), percent),
        ],
        "Reward": [
            ("total", ("reward", "total"), _three),
            ("medical", ("reward", "medical"), _three),
            *((name, ("reward", "components", name), _three) for name in components),
            ("correlation with being right", ("reward", "correlation_with_correct"), "{:+.2f}".format),
        ],
        "Letters answered": [
            *((letter or "none that could be read", ("letters",), _times(letter)) for letter in letters),
        ],
    }
    return [Group(title, rows) for title, wanted in groups.items() if (rows := list(_rows(systems, wanted)))]


def kinds_group(label: str, systems: Sequence[Figures]) -> Group:
    """Of each kind of a label, how many questions there are and how accurate each system is."""
    kinds = systems[0]["breakdown"][label]
    return Group(
        label,
        [
            Row(
                kind,
                [str(own["n"]), *(_cell(system, ("breakdown", label, kind), _share) for system in systems)],
            )
            for kind, own in kinds.items()
        ],
    )


def _rows(systems: Sequence[Figures], wanted: Sequence[tuple[str, tuple[str, ...], Show]]) -> Iterator[Row]:
    for label, path, show in wanted:
        cells = [_cell(system, path, show) for system in systems]
        if any(cells):
            yield Row(label, [cell or "–" for cell in cells])


def _cell(system: Figures, path: Sequence[str], show: Show) -> str:
    """The figure at the end of the path, or "" where it is not."""
    found: Any = system
    for key in path:
        found = found.get(key) if found is not None else None
    return "" if found is None else show(found).replace("-", "−")


def _keys(systems: Sequence[Figures], *path: str) -> list[str]:
    """The names that any system has at the end of the path, in their order."""
    found: dict[str, None] = {}
    for system in systems:
        there: Any = system
        for key in path:
            there = there.get(key, {})
        found |= dict.fromkeys(there)
    return list(found)


def _share(own: Mapping[str, Any]) -> str:
    low, high = own["ci95"]
    return f"{percent(own['accuracy'])} ({100 * low:.1f} to {100 * high:.1f})"


def _passed_over(safety: Mapping[str, Any]) -> str:
    return f"{safety['red_flags_missed']} of {safety['red_flags']}"


def _times(letter: str) -> Show:
    """How often a letter was answered; a system that was asked for none has no figure."""
    return lambda letters: str(letters.get(letter, 0)) if letters else ""


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _three(value: float) -> str:
    return f"{value:.3f}"
