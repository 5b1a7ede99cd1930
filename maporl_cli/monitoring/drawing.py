"""How every plot of the page is drawn: one style and one width, as SVG text that stands by itself."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
"""Okabe and Ito's palette: told apart with any kind of colour vision."""
GRID, SOFT = "#e4e4e4", "#5c5c5c"
WIDTH = 4.4
"""Inches. Plots of one width are scaled alike, so that their letters are of one size."""
FONT_SIZE = 9
"""Points."""
GUIDE = "guide"
"""Of a line that is no data, such as a diagonal."""


def style() -> Any:
    """A context that plots are drawn in."""
    import matplotlib

    return cast(Any, matplotlib).rc_context(
        {
            # Text stays text: searchable, a tenth of the size, and set in the reader's own font.
            "svg.fonttype": "none",
            "svg.hashsalt": "maporl",
            "font.size": FONT_SIZE,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "grid.linewidth": 0.6,
            "axes.edgecolor": "#888888",
        }
    )


def new_figure(height: float, **options: Any) -> Any:
    """A figure of that many inches; without pyplot, which would keep every figure alive."""
    from matplotlib.figure import Figure

    return cast(Any, Figure)(figsize=(WIDTH, height), **options)


def on_a_line(words: str, width: float) -> str:
    """Words that can be drawn in so many points: on one line, cut at the end, no half of a surrogate pair."""
    line = " ".join(words.encode("utf-8", "replace").decode().split())
    if width_of(line) <= width:
        return line
    # No letter is so narrow that more of them would fit.
    line = line[: int(width)]
    while line and width_of(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"


def width_of(line: str) -> float:
    """In points, in a font that few are wider than."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with _any_font():
        return text_to_path.get_text_width_height_descent(line, FontProperties(size=FONT_SIZE), ismath=False)[
            0
        ]


@contextmanager
def _any_font() -> Iterator[None]:
    """The reader's fonts set the text, so it does not matter what ours lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def svg(figure: Any, name: str) -> str:
    """The drawing as an `<svg>` element.

    Args:
        name: unique within the page; part of every id. What is data has an id with `mark` in it, by which it
            is told from its frame and its guides.
    """
    for axes in figure.axes:
        for number, artist in enumerate([*axes.lines, *axes.patches, *axes.collections]):
            artist.set_gid(f"{artist.get_gid() or 'mark'}_{number}")
    target = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _any_font():
        figure.savefig(target, format="svg", transparent=True, metadata=nothing)
    drawn = target.getvalue()
    # Several drawings share a page, and matplotlib gives all of them the same ids.
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawn[drawn.index("<svg") :])
    return drawn.replace("<svg ", '<svg role="img" ', 1)
