"""What an evaluation asks, by name: the team, what it is compared with, and the team with a thing changed."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from maporl_cli.core.errors import UsageError

TEAM = "team"
SINGLE = "single"
"""Also the role that sees everything, which that baseline has, and in which a verifier reads."""
UNTRAINED, MAJORITY = "untrained", "majority"
REPORTER_ALONE, ZERO_SHOT = "reporter_alone", "zero_shot"
BASELINES = (SINGLE, UNTRAINED, MAJORITY, REPORTER_ALONE, ZERO_SHOT)
SHUFFLED, SILENCED = "shuffled", "silenced"
CHECKS = (SHUFFLED, SILENCED)


def unknown(name: str, known: Sequence[str], option: str) -> UsageError:
    """Of a name that is none of those that an option takes; it names the nearest."""
    return UsageError(
        f"{option} knows no {name!r}.",
        why=f"there are: {', '.join(known)}, none",
        fix=f"{option} {get_close_matches(name, known, n=1, cutoff=0.0)[0]}",
    )
