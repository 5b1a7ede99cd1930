"""What a person or a program sees: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from maporl_cli.core.errors import MaporlError, UsageError, debugging
from maporl_cli.core.harmless import harmless_json

Shown = Literal["rich", "plain", "none"]


class Display(StrEnum):
    """How progress is shown on stderr."""

    auto = "auto"
    rich = "rich"
    plain = "plain"
    none = "none"


def result(text: str) -> None:
    """A result, to stdout."""
    print(text)


def emit(event: Mapping[str, Any]) -> None:
    """A result for programs: one JSON object on a line of stdout."""
    print(harmless_json(json.dumps(event, ensure_ascii=False)), flush=True)


def say(text: str) -> None:
    """A hint or a piece of progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def shown(asked: Display | None, environ: Mapping[str, str], *, terminal: bool) -> Shown:
    """The display to use: the flag's, else `MAPORL_DISPLAY`'s, else what suits stderr.

    Args:
        asked: the value of `--display`, None where it was not given.
        environ: the environment.
        terminal: whether stderr is a terminal.

    Raises:
        UsageError: `MAPORL_DISPLAY` names no display.
    """
    if asked is None:
        named = environ.get("MAPORL_DISPLAY") or "auto"
        if named not in list(Display):
            raise UsageError(
                f"There is no display {named!r}.",
                where="environment MAPORL_DISPLAY",
                fix=f"MAPORL_DISPLAY={'|'.join(Display)}",
            )
        asked = Display(named)
    if asked is not Display.auto:
        return asked.value
    bare = not terminal or environ.get("CI") or environ.get("TERM") == "dumb"
    return "plain" if bare else "rich"


def show_error(error: MaporlError, environ: Mapping[str, str]) -> None:
    """An error as sentences on stderr, below its traceback if those are wanted."""
    if debugging(environ):
        traceback.print_exception(error)
    _show_message(error.message)


def show_unexpected(error: BaseException, environ: Mapping[str, str]) -> None:
    """An error nobody foresaw: what and where, and how to see all of it.

    Its own text is left to the traceback, since it may quote data.
    """
    if debugging(environ):
        traceback.print_exception(error)
    _show_message(
        f"maporl met an error it does not know: {type(error).__name__}.\n"
        f"Where: {_place(error)}\n"
        "Fix: run it again with MAPORL_DEBUG=1 to see all of it, and report that"
    )


def _show_message(message: str) -> None:
    # Imported here: most commands end without an error, and all of them start.
    from rich.console import Console
    from rich.text import Text

    text = Text(message)
    text.highlight_regex(r"\A.*", "bold red")
    text.highlight_regex(r"(?m)^(Where|Why|Fix):", "bold")
    Console(stderr=True, soft_wrap=True).print(text)


def _place(error: BaseException) -> str:
    """The line of this package nearest to where `error` was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(__file__).parents[1])]
    if not ours:
        return "outside of maporl"
    return f"{Path(ours[-1].filename).relative_to(Path(__file__).parents[2])}, line {ours[-1].lineno}"
