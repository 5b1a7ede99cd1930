"""What a server has done so far, in numbers."""

from __future__ import annotations

from collections import deque
from math import ceil

RECENT = 1000
"""Answered requests that the times are of: the last ones."""


class Figures:
    """Counts of requests and how long they took.

    Attributes:
        answered, refused, failed: requests, by how they ended: with a reply, with the fault in the request or
            in the moment, with a fault of the team.
        questions: of the answered requests.
    """

    def __init__(self) -> None:
        self.answered = self.refused = self.failed = self.questions = 0
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def add(self, questions: int, seconds: float) -> None:
        """A request was answered, so long after it came."""
        self.answered += 1
        self.questions += questions
        self._seconds.append(seconds)

    def told(self) -> dict[str, float | None]:
        """All of them; `p50_seconds` and `p95_seconds` (nearest rank) are null before the first answer."""
        return {
            "answered": self.answered,
            "questions": self.questions,
            "refused": self.refused,
            "failed": self.failed,
            "p50_seconds": self._quantile(0.5),
            "p95_seconds": self._quantile(0.95),
        }

    def _quantile(self, share: float) -> float | None:
        ordered = sorted(self._seconds)
        return round(ordered[ceil(share * len(ordered)) - 1], 4) if ordered else None
