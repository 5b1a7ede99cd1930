import re
from itertools import pairwise

import pytest

from maporl_cli.monitoring.plots import MAX_POINTS, Series, count_plot, line_plot, reliability_plot
from maporl_cli.training.calibration import Bin

NUMBERS = list(range(5))


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """The points (in SVG units) of every drawn data line; grey ones are the grid's."""
    drawn = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke(?!: #e4e4e4)', svg)
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)] for path in drawn]


def test_a_line_a_series_with_its_label() -> None:
    svg = line_plot(
        "loss", [Series("planner", NUMBERS, [1, 4, 2, 5, 3]), Series("analyst", NUMBERS, [5, 1, 4, 2, 3])]
    )
    assert svg.startswith('<svg role="img" ')
    assert svg.rstrip().endswith("</svg>")
    for words in (">planner<", ">analyst<", ">step<"):
        assert words in svg
    first, second = lines(svg)
    assert [x for x, _ in first] == [x for x, _ in second]
    assert [y for _, y in first] != [y for _, y in second]


def test_one_point_is_still_a_mark() -> None:
    svg = line_plot("one", [Series("a", [1], [0.5])])
    assert svg.count("<use ") > line_plot("none", [Series("a", [], [])]).count("<use ")


def test_what_was_not_finite_leaves_no_trace() -> None:
    with_gap = line_plot("x", [Series("a", NUMBERS, [1, None, 2, None, 3])])
    without = line_plot("x", [Series("a", [0, 2, 4], [1, 2, 3])])
    assert with_gap == without


def test_long_runs_are_drawn_as_means_of_equal_stretches() -> None:
    length = MAX_POINTS * 40 + 30
    zigzag = [float(step % 2) for step in range(length)]
    (line,) = lines(line_plot("x", [Series("a", range(length), zigzag)], share=True))
    ((_, middle), _) = lines(line_plot("x", [Series("a", [0, 1], [0.5, 0.5])], share=True))[0]
    (_, bottom), (_, top) = lines(line_plot("x", [Series("a", [0, 1], [0.0, 1.0])], share=True))[0]
    assert len(line) == MAX_POINTS
    assert [y for _, y in line] == pytest.approx([middle] * MAX_POINTS, abs=0.02 * (bottom - top))
    gaps = [after - before for (before, _), (after, _) in pairwise(line)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=0.05)


def test_a_short_run_is_drawn_as_it_is() -> None:
    (line,) = lines(
        line_plot("x", [Series("a", range(MAX_POINTS), [float(n * n % 7) for n in range(MAX_POINTS)])])
    )
    assert len(line) == MAX_POINTS


def test_shares_are_shown_as_per_cent_on_a_fixed_axis() -> None:
    svg = line_plot("share", [Series("a", NUMBERS, [0.4, 0.41, 0.42, 0.43, 0.44])], share=True)
    assert ">0 %<" in svg
    assert ">100 %<" in svg
    assert " %<" not in line_plot("free", [Series("a", NUMBERS, [0.4, 0.41, 0.42, 0.43, 0.44])])


def test_drawings_on_one_page_share_no_id_and_ask_for_nothing() -> None:
    series = [Series("a", NUMBERS, [1, 4, 2, 5, 3])]
    first, second = line_plot("first", series), line_plot("second", series)
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip((first, second), ids, strict=True):
        used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
        assert {one or other for one, other in used} <= known
        assert not re.findall(r'(?:src|href)="(?!#)', svg)
        assert "<script" not in svg
        assert "<metadata" not in svg


def test_the_same_data_gives_the_same_drawing() -> None:
    series = [Series("a", NUMBERS, [1, 4, 2, 5, 3])]
    assert line_plot("x", series) == line_plot("x", series)


@pytest.mark.parametrize("label", ["a & b", "<script>alert(1)</script>"])
def test_labels_are_text(label: str) -> None:
    svg = line_plot("x", [Series(label, NUMBERS, NUMBERS)])
    assert "<script" not in svg
    assert label not in svg


def test_reliability_is_a_dot_a_bin_beside_the_diagonal() -> None:
    """Observed equal to predicted lies on the diagonal; said too low, above it (in SVG: further up)."""
    svg = reliability_plot("r", [Bin(0.25, 0.25, 10), Bin(0.5, 0.9, 40), Bin(0.75, 0.75, 10)])
    for words in (">said to be right<", ">right<"):
        assert words in svg
    diagonal, drawn = lines(svg)
    (left, bottom), (right, top) = diagonal
    shares = [((x - left) / (right - left), (bottom - y) / (bottom - top)) for x, y in drawn]
    assert shares == [pytest.approx(point, abs=1e-3) for point in ((0.25, 0.25), (0.5, 0.9), (0.75, 0.75))]


def test_counts_are_bars_as_high_as_they_are_many() -> None:
    svg = count_plot("letters", {"A": 30, "B": 10, "none": 20}, apart="none")
    bars = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: (#\w+)"', svg)
    heights = [
        max(ys) - min(ys)
        for ys in ([float(y) for y in re.findall(r"[ML] \S+ (\S+)", path)] for path, _ in bars)
    ]
    assert heights == pytest.approx([heights[0], heights[0] / 3, heights[0] * 2 / 3], rel=1e-3)
    assert bars[0][1] == bars[1][1] != bars[2][1]
    assert [svg.index(f">{words}<") for words in ("A", "B", "none")] == sorted(
        svg.index(f">{words}<") for words in ("A", "B", "none")
    )
    for count in (30, 10, 20):
        assert f">{count}<" in svg
