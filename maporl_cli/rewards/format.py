"""Format: whether the turns have the form their roles ask for, and end in an answer that can be read."""

from __future__ import annotations

from maporl_cli.agents.roles import RoleBook
from maporl_cli.core.types import Episode


def well_formed(episode: Episode, book: RoleBook) -> float:
    """The share of turns that ended by themselves and match their role's form.

    The last turn must also hold an answer that can be read.
    """
    turns = episode.turns
    if not turns:
        return 0.0
    good = [turn.finished and book.role(turn.agent).has_form(turn.text) for turn in turns]
    good[-1] = good[-1] and episode.answer is not None
    return sum(good) / len(good)
