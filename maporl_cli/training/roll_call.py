"""Who has come to a collective, so that one that waits in vain can say for whom."""

# torch.distributed leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportPrivateImportUsage=false

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import torch.distributed as dist

from maporl_cli.training.ask_store import asked

_ANSWERS_WITHIN = 2.0
"""Seconds; the store answers in less than one where it is there at all."""


class RollCall:
    """Counts the collectives that a rank enters, group by group, where all ranks can read it.

    The ranks of a group enter the same ones in the same order: one whose count is lower has not come.

    Args:
        store: one that nobody else uses.
        rank: which rank this is.
    """

    def __init__(self, store: dist.Store, rank: int) -> None:
        self._store = store
        self._rank = rank
        self._entered = Counter[str]()

    def enter(self, group: str) -> None:
        """Note that this rank is there; the store gets it without an answer, so nobody waits."""
        self._entered[group] += 1
        with suppress(RuntimeError):  # the store is gone: the collective itself will tell
            self._store.set(f"{group}/{self._rank}", str(self._entered[group]))

    def absent(self, group: str, ranks: Sequence[int]) -> list[int]:
        """Those of the group's ranks that have not entered what this one has; nobody without the store."""
        return asked(
            lambda: [rank for rank in ranks if self._count(group, rank) < self._entered[group]],
            within=_ANSWERS_WITHIN,
            otherwise=[],
        )

    def _count(self, group: str, rank: int) -> int:
        key = f"{group}/{rank}"
        return int(self._store.get(key)) if self._store.check([key]) else 0
