"""What a browser would make of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest


def blank_plots(patch: pytest.MonkeyPatch) -> None:
    """Leave the plots of pages empty: to draw them takes half as long as a small run."""

    def blank(_: Any, target: Any, **__: Any) -> None:
        target.write('<svg xmlns="http://www.w3.org/2000/svg"/>')

    patch.setattr("matplotlib.figure.Figure.savefig", blank)


class Page(HTMLParser):
    """Its tags, everything it would fetch, its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []
        self.policy = ""
        self.text = ""
        self._styling = False
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._styling = tag == "style"
        values = dict(attrs)
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            if values.get(name) and not (values[name] or "").startswith("#"):
                self.fetched.append(f"{tag} {name}={values[name]}")
        self.handlers += [name for name in values if name.startswith("on")]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._styling = False

    def handle_data(self, data: str) -> None:
        if self._styling:
            assert "url(" not in data
            assert "@import" not in data
        else:
            self.text += f" {data} "
