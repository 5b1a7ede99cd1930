"""What an evaluation's figures look like: a drawing for each part that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maporl_cli.monitoring.panels import Panel
from maporl_cli.monitoring.plots import count_plot, reliability_plot
from maporl_cli.monitoring.row_plots import (
    Bar,
    Change,
    Interval,
    bar_plot,
    change_plot,
    difference_plot,
    interval_plot,
)
from maporl_cli.monitoring.wording import p_value, percent, points, system
from maporl_cli.training.calibration import Bin

Figures = Mapping[str, Any]
"""Of one system, as `eval/NAME.json` has them; the team's also hold what it was compared with."""

_UNREADABLE = "none"


def system_panels(prefix: str, team: Figures) -> list[Panel]:
    """The panels of one evaluation, in the page's order; what was not measured has none.

    Args:
        prefix: of the drawings' names; unique within the page.
    """
    drawn = (
        _accuracy(f"{prefix}-accuracy", team),
        _comparisons(f"{prefix}-comparisons", team),
        _contributions(f"{prefix}-contributions", team),
        _changes(f"{prefix}-changes", team),
        _letters(f"{prefix}-letters", team),
        _calibration(f"{prefix}-calibration", team),
        _reward(f"{prefix}-reward", team),
    )
    return [panel for panel in drawn if panel is not None]


def kinds_panel(name: str, label: str, kinds: Mapping[str, Figures], chance: float) -> Panel:
    """The team's accuracy by the kinds of one label."""
    rows = [
        _interval(kind, own["accuracy"], own, f"{percent(own['accuracy'])} of {own['n']}")
        for kind, own in kinds.items()
    ]
    return Panel(label, "", interval_plot(name, rows, chance=chance))


def _accuracy(name: str, team: Figures) -> Panel:
    systems = {"team": team, **team.get("baselines", {})}
    rows = [
        _interval(system(who), own["accuracy"], own, percent(own["accuracy"])) for who, own in systems.items()
    ]
    note = f"With the 95 % interval. The upright line is chance, {percent(team['chance'])}."
    return Panel("Accuracy", note, interval_plot(name, rows, chance=team["chance"]))


def _comparisons(name: str, team: Figures) -> Panel | None:
    note = "Accuracy, in percentage points, on the same questions; with the paired 95 % interval."
    return _differences("The team is better by", note, name, team.get("comparisons", {}))


def _contributions(name: str, team: Figures) -> Panel | None:
    note = "Accuracy lost, in percentage points, where the agent says nothing; with the paired 95 % interval."
    return _differences("What each agent adds", note, name, team.get("contributions", {}))


def _differences(title: str, note: str, name: str, pairs: Mapping[str, Figures]) -> Panel | None:
    if not pairs:
        return None
    rows = [
        _interval(
            system(who),
            pair["difference"],
            pair,
            f"{points(pair['difference'])}, {p_value(pair['p_holm'])}",
        )
        for who, pair in pairs.items()
    ]
    return Panel(title, note, difference_plot(name, rows))


def _changes(name: str, team: Figures) -> Panel | None:
    taken = team.get("conversation", [])
    turns = [turn for turn in taken if turn["stances"]]
    if not turns or len(taken) == 1:  # a single turn has nobody's answer to change
        return None
    rows = [
        Change(
            f"{turn['agent']}, round {turn['round'] + 1}",
            turn["wrong_to_right"],
            turn["right_to_wrong"],
            f"−{turn['right_to_wrong']}, +{turn['wrong_to_right']}; {turn['stances']} of {turn['turns']}",
        )
        for turn in turns
    ]
    title = "How the answer changed"
    if not any(row.gained or row.lost for row in rows):
        return Panel(title, "No turn stood for a right answer after a wrong one, or the other way round.", "")
    note = (
        "How often a turn stood for the right answer where the last one before it that stood for any was "
        "wrong, and the other way round. At the right the same in figures, and how many of the turns stood "
        "for an answer."
    )
    return Panel(title, note, change_plot(name, rows, lost="right to wrong", gained="wrong to right"))


def _letters(name: str, team: Figures) -> Panel | None:
    if not team.get("letters"):
        return None
    # A letter that only another system answered is one that the team never did.
    systems = [team, *team.get("baselines", {}).values()]
    known = sorted({letter for own in systems for letter in own["letters"]} - {""})
    counts = {letter: team["letters"].get(letter, 0) for letter in known}
    if unreadable := team["letters"].get(""):
        counts[_UNREADABLE] = unreadable
    note = "How often the team answered each letter, and none that could be read."
    return Panel("Letters", note, count_plot(name, counts, apart=_UNREADABLE))


def _calibration(name: str, team: Figures) -> Panel | None:
    found = team.get("calibration")
    if found is None:
        return None
    bins = [Bin(one["confidence"], one["accuracy"], one["n"]) for one in found["bins"]]
    note = (
        f"Of the {percent(found['stated'])} of answers that state a confidence: Brier score "
        f"{found['brier']:.3f}, expected calibration error {found['ece']:.3f}. On the diagonal a confidence "
        "means what it says; a larger dot stands for more answers."
    )
    return Panel("Stated confidence", note, reliability_plot(name, bins))


def _reward(name: str, team: Figures) -> Panel | None:
    found = team.get("reward")
    if found is None:
        return None
    values = {"total": found["total"], "medical": found["medical"], **found["components"]}
    rows = [Bar(label, value, f"{value:.3f}") for label, value in values.items()]
    r = found["correlation_with_correct"]
    told = "none, where one of them is always the same" if r is None else f"{r:+.2f}".replace("-", "−")
    note = f"Means over all answers. Correlation of the total with being right: {told}."
    return Panel("Reward", note, bar_plot(name, rows))


def _interval(label: str, value: float, own: Figures, note: str) -> Interval:
    low, high = own["ci95"]
    return Interval(label, value, low, high, note)
