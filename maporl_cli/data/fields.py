"""Reading one field of a row, or saying exactly why it cannot be read.

Reasons name fields and letters, never the text of a row: errors and logs hold no clinical text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

Row = Mapping[str, object]


class RowError(ValueError):
    """Why a row is not a question. The message is shown to the user beside the row's place."""


def text(value: object, name: str) -> str:
    """`value` without surrounding white space.

    Raises:
        RowError: it is absent, not text, empty, or holds half a surrogate pair.
    """
    if value is None:
        raise RowError(f"{name} is missing")
    if not isinstance(value, str):
        raise RowError(f"{name} is not text but {json_kind(value)}")
    stripped = value.strip()
    if not stripped:
        raise RowError(f"{name} is empty")
    try:
        stripped.encode()
    except UnicodeEncodeError:
        raise RowError(f"bad unicode in {name} (half of a surrogate pair)") from None
    return stripped


def optional_text(value: object, name: str) -> str:
    """As `text`, but absent or empty is `""`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    return text(value, name)


def items(value: object, name: str) -> Sequence[object]:
    """A JSON array, absent meaning empty."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise RowError(f"{name} is not a list but {json_kind(value)}")
    return cast(list[object], value)


def mapping(value: object, name: str) -> Row:
    """A JSON object."""
    if not isinstance(value, dict):
        raise RowError(f"{name} is not an object but {json_kind(value)}")
    return cast(Row, value)


def identifier(value: object, name: str) -> str:
    """An id as text (published ids are text or numbers); `""` where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return optional_text(value, name)


def json_kind(value: object) -> str:
    """What JSON calls the type of a parsed `value`."""
    kinds: dict[type, str] = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "an object",
    }
    return kinds[type(value)]
