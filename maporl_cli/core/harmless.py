"""Text from elsewhere, such as a job's log, made fit to be shown on a terminal."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
"""What only colours is left out; any other escape shows as what it is."""
_UNSEEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, what turns the direction of writing, what some take as a line's end, and halves of
characters, which no stream can encode. Not the tabulator."""


def harmless(text: str) -> str:
    """`text` on one line that moves no cursor, sets no title and hides nothing."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), _COLOURS.sub("", text))


def harmless_json(text: str) -> str:
    """As `harmless`, of a line of JSON, which says the same afterwards."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
