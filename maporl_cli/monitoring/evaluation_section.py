"""The page's section on one `maporl eval`: what its figures say, ready to be laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maporl_cli.core.run_dir import read_object
from maporl_cli.monitoring.evaluation_panels import Figures, kinds_panel, system_panels
from maporl_cli.monitoring.evaluation_tables import Group, figure_groups, kinds_group
from maporl_cli.monitoring.panels import Panel
from maporl_cli.monitoring.wording import percent, system

_LONG = 12
"""Kinds that are shown at once; more are folded away until somebody wants them."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A row of the table of systems: its name, its figures, and what the team is better by."""

    label: str
    figures: Figures
    team: Figures | None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The accuracy by the kinds of one label; `folded` where there are many."""

    panel: Panel
    table: Group
    folded: bool


@dataclass(frozen=True, slots=True)
class Section:
    """One evaluation; of one that is not finished there is nothing but its name.

    Attributes:
        facts: what was asked, and how.
        alarm, caution: what a reader must not miss; "" where there is nothing.
        systems: the team first.
        groups: further figures of all systems.
        records: the file with a line an answer.
    """

    name: str
    finished: bool
    facts: Mapping[str, str]
    alarm: str
    caution: str
    systems: Sequence[Compared]
    panels: Sequence[Panel]
    breakdowns: Sequence[Breakdown]
    groups: Sequence[Group]
    records: str


def read_sections(folder: Path) -> list[Section]:
    """A section for each `maporl eval` that wrote into the folder, by name.

    What training measured of itself lies in the same folder, and has no settings of its own.
    """
    found = {
        path.stem: read_object(path) for path in sorted(folder.glob("*.json"), key=lambda path: path.stem)
    }
    asked = {name: figures for name, figures in found.items() if "settings" in figures}
    return [
        _section(name, f"evaluation-{number}", figures)
        for number, (name, figures) in enumerate(asked.items())
    ]


def _section(name: str, prefix: str, team: Mapping[str, Any]) -> Section:
    if "accuracy" not in team:
        return Section(name, False, {}, "", "", [], [], [], [], "")
    baselines, comparisons = team.get("baselines", {}), team.get("comparisons", {})
    systems = {"team": team, **baselines}
    return Section(
        name=name,
        finished=True,
        facts=_facts(team),
        alarm=team.get("alarm", ""),
        caution=team.get("caution", ""),
        systems=[Compared(system(who), own, comparisons.get(who)) for who, own in systems.items()],
        panels=system_panels(prefix, team),
        breakdowns=[
            Breakdown(
                kinds_panel(f"{prefix}-kinds-{number}", label, kinds, team["chance"]),
                kinds_group(label, list(systems.values())),
                folded=len(kinds) > _LONG,
            )
            for number, (label, kinds) in enumerate(team.get("breakdown", {}).items())
        ],
        groups=figure_groups(list(systems.values())),
        records=Path(team["records"]).name,
    )


def _facts(team: Mapping[str, Any]) -> dict[str, str]:
    settings = team["settings"]
    facts = {
        "Questions": f"{team['n']:,}",
        "Answers": _answers(settings),
        "Chance": percent(team["chance"]),
    }
    if settings["checkpoint"] is not None:
        facts["Checkpoint"] = settings["checkpoint"]
    if settings.get("endpoint") is not None:
        facts["Spoken by"] = f"{settings['model']} at {settings['endpoint']}"
    if "consistency" in team:
        facts["Same option in another order"] = percent(team["consistency"])
    return facts


def _answers(settings: Mapping[str, Any]) -> str:
    if settings.get("loglikelihood"):
        return "the likeliest letter of the last agent's model; nobody spoke"
    return f"sampled, {settings['seeds']} a question" if settings["sampled"] else "greedy"
