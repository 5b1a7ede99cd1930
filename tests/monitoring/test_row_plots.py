import re
import warnings
from html import unescape

import pytest

from maporl_cli.monitoring.row_plots import (
    Bar,
    Change,
    Interval,
    bar_plot,
    change_plot,
    difference_plot,
    interval_plot,
)

Point = tuple[float, float]


def words(svg: str) -> list[str]:
    """Every text, in the order of the drawing."""
    return [unescape(text) for text in re.findall(r"<text [^>]*>([^<]*)</text>", svg)]


def marks(svg: str) -> list[list[Point]]:
    """The points of each mark in SVG units; a dot's is where it stands."""
    groups = [part.split("<g id=")[0] for part in re.split(r'<g id="[^"]*-mark_\d+">', svg)[1:]]
    return [
        [(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="(\S+)" y="(\S+)"', group)]
        or [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", group)]
        for group in groups
    ]


def at(svg: str, ends: tuple[float, float]) -> list[list[float]]:
    """Where each mark reaches from and to, on an axis between the two ends."""
    tracks = re.findall(r'<path d="M (\S+) \S+\s+L (\S+) \S+[^"]*" [^>]*style="fill: #f1f3f5', svg)
    left, right = sorted({float(x) for track in tracks for x in track})
    low, high = ends
    return [
        [low + (high - low) * (x - left) / (right - left) for x in (min(xs), max(xs))]
        for xs in ([x for x, _ in points] for points in marks(svg))
    ]


def test_a_row_an_interval() -> None:
    svg = interval_plot(
        "evaluations", [Interval("before", 0.2, 0.1, 0.3, "20 %"), Interval("after", 0.9, 0.8, 0.95)]
    )
    assert svg.index(">before<") < svg.index(">after<")
    for told in ("before", "20 %", "after", "0 %", "100 %"):
        assert told in words(svg)
    found = at(svg, (0, 1))
    assert found == [
        pytest.approx(ends, abs=1e-3) for ends in ([0.1, 0.3], [0.2, 0.2], [0.8, 0.95], [0.9, 0.9])
    ]
    (_, first), *_ = marks(svg)[0]
    (_, second), *_ = marks(svg)[2]
    assert first < second  # downwards


def test_chance_is_marked_where_it_is_known() -> None:
    row = [Interval("team", 0.2, 0.1, 0.3)]
    assert interval_plot("x", row, chance=0.25).count("<path") > interval_plot("x", row).count("<path")
    low, high = interval_plot("x", row, chance=0.1), interval_plot("x", row, chance=0.9)
    assert low != high


def test_differences_may_be_negative() -> None:
    svg = difference_plot("d", [Interval("planner", 0.1, 0.05, 0.2), Interval("analyst", -0.05, -0.1, 0.0)])
    assert [text for text in words(svg) if re.fullmatch(r"[+−]?\d+", text)] == [
        "−10",
        "−5",
        "0",
        "+5",
        "+10",
        "+15",
        "+20",
    ]
    found = at(svg, (-0.1, 0.2))
    assert found == [
        pytest.approx(ends, abs=1e-3) for ends in ([0.05, 0.2], [0.1, 0.1], [-0.1, 0.0], [-0.05, -0.05])
    ]


def test_no_difference_at_all_is_drawn_at_zero() -> None:
    svg = difference_plot("d", [Interval("planner", 0.0, 0.0, 0.0)])
    assert at(svg, (-0.06, 0.06)) == [pytest.approx([0, 0], abs=1e-3)] * 2


def test_a_bar_reaches_from_zero_to_its_value() -> None:
    svg = bar_plot("reward", [Bar("safety", 0.931, "0.931"), Bar("format", 0.25)])
    assert at(svg, (0, 1)) == [pytest.approx(ends, abs=1e-3) for ends in ([0, 0.931], [0, 0.25])]
    assert {"safety", "0.931", "format", "0", "1"} <= set(words(svg))


def test_losses_go_to_the_left_and_gains_to_the_right() -> None:
    rows = [
        Change("analyst, round 1", 8, 3),
        Change("reporter, round 1", 10, 0),
        Change("planner, round 2", 0, 0),
    ]
    svg = change_plot("changes", rows, lost="right to wrong", gained="wrong to right")
    assert at(svg, (-10, 10)) == [pytest.approx(ends, abs=0.02) for ends in ([-3, 0], [0, 8], [0, 10])]
    told = words(svg)
    assert "← right to wrong" in told
    assert "wrong to right →" in told
    assert not any("−" in text for text in told)  # a loss of three is three


@pytest.mark.parametrize(
    "label", ["<script>alert(1)</script>", "$\\frac{1", "a & b", "心血管", "half \ud83d a pair"]
)
def test_labels_are_text_whatever_they_are(label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = interval_plot("x", [Interval(label, 0.2, 0.1, 0.3)])
    assert "<script" not in svg
    assert label.replace("\ud83d", "?") in words(svg)


@pytest.mark.parametrize(("letter", "least", "most"), [("W", 25, 35), ("i", 90, 130)])
def test_a_label_too_long_for_its_row_is_cut_by_its_width(letter: str, least: int, most: int) -> None:
    for length in (most, 5_000):
        told = words(bar_plot("x", [Bar(letter * length, 0.5, "0.500")]))
        (label,) = (text for text in told if text.startswith(letter))
        assert label.endswith(f"{letter}…")
        assert least < len(label) < most
    assert letter * least in words(bar_plot("x", [Bar(letter * least, 0.5, "0.500")]))
