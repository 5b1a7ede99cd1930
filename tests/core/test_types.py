"""What a turn tells of itself."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from maporl_cli.core.types import Snippet, Turn


@pytest.mark.parametrize("counted", [None, (7, 2)])
def test_a_turns_record_is_that_of_dataclasses(counted: tuple[int, int] | None):
    shown = (Snippet("a", "one", "rct"), Snippet("b", "two"))
    turn = Turn("planner", 1, (1, 2), (3,), (-0.5,), "said", True, 4, shown, counted)
    assert turn.record() == asdict(turn)
