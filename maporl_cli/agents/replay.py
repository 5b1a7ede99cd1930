"""The same work on the same tensors, again and again: on a GPU its kernels are recorded once and started
together from then on.

A token that is written takes hundreds of small kernels, and Python takes longer to start most of them than
they run. A CUDA graph starts them all at once (CUDA Programming Guide, "CUDA Graphs").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor


class Replay:
    """Work that can be recorded: it reads and writes tensors whose places and shapes stay, and asks nothing
    of what is in them.

    The first call does it as it is, which readies the libraries for these shapes; the second records it.

    Args:
        work: gives a tensor; the one that a call gives holds the next call's result once that is made.
        device: the GPU that its tensors are on.
    """

    def __init__(self, work: Callable[[], Tensor], device: torch.device) -> None:
        self._work = work
        self._device = device
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._found: Tensor | None = None

    def __call__(self) -> Tensor:
        self._calls += 1
        if self._calls == 1:
            return self._work()
        with torch.cuda.device(self._device):
            if self._graph is None or self._found is None:
                self._graph = torch.cuda.CUDAGraph()
                # Other threads, such as the collectives' watchdog, go on with what a recording forbids.
                recording = torch.cuda.graph(
                    self._graph, stream=_stream(self._device), capture_error_mode="thread_local"
                )
                with recording:
                    self._found = self._work()
            self._graph.replay()
        return self._found


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: the libraries keep a workspace for each stream."""
    return torch.cuda.Stream(device)
