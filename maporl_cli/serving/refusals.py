"""What a request is refused with: the reason as JSON, and the HTTP status that says whose fault it is."""

from __future__ import annotations

from typing import Any

from maporl_cli.core.errors import DataError, MaporlError, RunFailed


class TooLarge(DataError):
    """A request holds more than one may."""


class Busy(RunFailed):
    """More questions wait already than may."""


def status_of(error: MaporlError) -> int:
    """413 for too much, 400 for what cannot be asked, 503 where too many wait, 500 for what failed here."""
    if isinstance(error, TooLarge):
        return 413
    if isinstance(error, DataError):
        return 400
    return 503 if isinstance(error, Busy) else 500


def refusal(error: MaporlError) -> dict[str, Any]:
    """`{"error": {"what", "where", "why", "fix"}}`, without the parts that the error does not have."""
    told = {"what": error.what, "where": error.where, "why": error.why, "fix": error.fix}
    return {"error": {name: text for name, text in told.items() if text}}
