"""The page as a reader has it: in a browser, on a telephone and on a desk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, chromium
from evaluated import evaluation

from maporl_cli.core.config import Config
from maporl_cli.core.run_dir import RunDir
from maporl_cli.monitoring.jsonl import JsonlSink
from maporl_cli.monitoring.report import write_evaluations, write_report

WIDTHS = (400, 1_400)
LEGIBLE = 8
"""Pixels."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with all that can be on it."""
    folder = tmp_path_factory.mktemp("runs")
    run = RunDir.open_new(Config.model_validate({"run": {"name": "a" * 80, "output_dir": folder}}))
    sink = JsonlSink(run.metrics)
    for step in range(1, 80):
        sink.log(step, {"train:accuracy": step / 100, "planner:loss": 1 / step, "reporter:loss": 0.5})
    measured = {"accuracy": 0.4, "ci95": [0.3, 0.5], "sampled": 0.4, "n": 400, "invalid": 3}
    run.results.write_text(json.dumps({"eval": {"before": measured, "after": measured, "single": measured}}))
    run.evaluation.mkdir()
    (run.evaluation / "medxpert.json").write_text(json.dumps(evaluation()))
    (run.evaluation / f"{'x' * 70}.json").write_text(json.dumps(evaluation(consistency=0.0)))
    (run.evaluation / "unfinished.json").write_text(json.dumps({"settings": {}}))
    return write_report(run)


def faults(browser: Browser, page: Path, width: int) -> list[str]:
    """What a reader would find wrong with the page, its details folded and unfolded."""
    found: list[str] = []
    for unfolded in (False, True):
        seen = browser.see(page, width, unfolded=unfolded)
        found += [f"error: {error}" for error in browser.errors]
        found += [f"fetches {url}" for url in browser.asked_for]
        if seen["width"] > width:
            found.append(f"is {seen['width']} wide")
        for plot in seen["plots"]:
            found += plot_faults(plot, width)
    return found


def plot_faults(plot: dict[str, Any], width: int) -> Iterator[str]:
    if not any(right > left or bottom > top for left, top, right, bottom in plot["marks"]):
        yield "a plot without marks"
    for left, top, right, bottom in plot["marks"]:
        if not (0 <= left <= right <= width and inside((left, top, right, bottom), plot["box"])):
            yield f"a mark at {left:.0f} to {right:.0f}, {top:.0f} to {bottom:.0f}"
    for text in plot["texts"]:
        if text["size"] < LEGIBLE:
            yield f"{text['words']!r} is {text['size']:.1f} px high"
        if not inside(text["box"], plot["box"]):
            yield f"{text['words']!r} is cut off"
    for one, other in combinations(plot["texts"], 2):
        if overlap(one["box"], other["box"]):
            yield f"{one['words']!r} is on {other['words']!r}"


def inside(box: tuple[float, ...] | list[float], outer: list[float]) -> bool:
    """Up to a pixel, which is what rounding takes."""
    left, top, right, bottom = box
    return left >= outer[0] - 1 and top >= outer[1] - 1 and right <= outer[2] + 1 and bottom <= outer[3] + 1


def overlap(one: list[float], other: list[float]) -> bool:
    """By more than the empty edge that a letter's box has above and below it."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across > 1 and down > 2


@pytest.mark.parametrize("width", WIDTHS)
def test_a_runs_page_is_read_without_fault(browser: Browser, report: Path, width: int) -> None:
    assert faults(browser, report, width) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_of_evaluations_alone_is_too(browser: Browser, tmp_path: Path, width: int) -> None:
    tmp_path.joinpath("clinic.json").write_text(json.dumps(evaluation()))
    assert faults(browser, write_evaluations(tmp_path), width) == []


def test_every_plot_is_seen_and_the_many_kinds_only_when_they_are_asked_for(
    browser: Browser, report: Path
) -> None:
    page = browser.see(report, 1_400)
    unfolded = browser.see(report, 1_400, unfolded=True)
    # Before and after, two of training, and of two evaluations seven and two labels of few kinds.
    assert len(page["plots"]) == 1 + 2 + 2 * (7 + 2)
    assert len(unfolded["plots"]) == len(page["plots"]) + 2
    assert "Topic 07" not in page["text"]
    assert "Topic 07" in unfolded["text"]


RECT = '<rect x="1" y="1" width="9" height="9"/>'
PLOT = f'<svg viewBox="0 0 100 50" width="100%"><g id="a-mark_0">{RECT}</g>{{}}</svg>'
WORDS = '<text x="{}" y="40" font-size="{}">words</text>'


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<svg viewBox="0 0 100 50"><g id="a-mark_0"></g></svg>', "a plot without marks"),
        ('<svg viewBox="0 0 100 50"><rect width="9" height="9"/></svg>', "a plot without marks"),
        (PLOT.replace('x="1"', 'x="-30"').format(""), "a mark at -"),
        (PLOT.format('<path d="M NaN 0 L 1 1"/>'), "error: Error: <path> attribute d"),
        (PLOT.format(WORDS.format(5, 1)), "'words' is 3.8 px high"),
        (PLOT.format(WORDS.format(95, 5)), "'words' is cut off"),
        (PLOT.format(WORDS.format(5, 5) + WORDS.format(8, 5)), "'words' is on 'words'"),
        ("<script>undefined_function()</script>", "error: "),
        ('<img src="nowhere.png">', "fetches "),
        ('<div style="width: 500px">wide</div>', "is 5"),
    ],
)
def test_what_is_wrong_with_a_page_is_found(browser: Browser, tmp_path: Path, body: str, fault: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>t</title>{body}")
    assert any(found.startswith(fault) for found in faults(browser, page, 400))


def test_a_page_without_fault_has_none(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>t</title>{PLOT.format(WORDS.format(5, 5))}")
    assert faults(browser, page, 400) == []
