"""What a job's ranks print: lines that begin with the rank, and metrics that SageMaker reads from them.

Several ranks write to one pipe, so each line is a single write: one of at most 4,096 bytes is never mixed up
with another (pipe(7)).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

_STDOUT = 1
_PIPE_BUF = 4096


def print_line(rank: int, text: str) -> None:
    """Print `text`, a line of `rank`."""
    for line in text.splitlines():
        os.write(_STDOUT, f"[rank {rank}] {line}\n".encode())


class MetricLines:
    """A step's metrics as `name=value;`, as a job's metric definitions find them; not the infinite ones.

    Args:
        rank: whose they are.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Print the metrics of `step`, in as many lines as it takes."""
        told = [f"{name}={value:.6g};" for name, value in metrics.items() if math.isfinite(value)]
        start = f"step={step};"
        line = start
        for one in told:
            if len(f"[rank {self._rank}] {line} {one}\n".encode()) > _PIPE_BUF:
                print_line(self._rank, line)
                line = start
            line = f"{line} {one}"
        print_line(self._rank, line)

    def close(self) -> None:
        """Nothing is left open between steps."""
