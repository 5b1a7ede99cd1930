"""The same work on the same tensors, again and again: on a GPU its kernels are recorded once and started
together from then on.

A token that is written takes hundreds of small kernels, and Python takes longer to start most of them than
they run. A CUDA graph starts them all at once (CUDA Programming Guide, "CUDA Graphs").
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

READY = 8
"""Calls before the work is recorded, which takes as long as a few of them: a turn of a handful of words, or
rows that are soon fewer, are over by then. They also ready the libraries, which a recording must not."""
_FAILURES = (torch.OutOfMemoryError, getattr(torch, "AcceleratorError", RuntimeError))
"""How a recording fails: it needs memory of its own. Before torch 2.8 errors of a GPU had no name."""


class Replay:
    """Work that can be recorded: it reads and writes tensors whose places and shapes stay, and asks nothing
    of what is in them.

    Args:
        work: gives a tensor; the one that a call gives holds the next call's result once that is made.
        device: the GPU that its tensors are on.
    """

    def __init__(self, work: Callable[[], Tensor], device: torch.device) -> None:
        self._work = work
        self._device = device
        self._calls = 0
        self._recorded: tuple[torch.cuda.CUDAGraph, Tensor] | None = None

    def __call__(self) -> Tensor:
        self._calls += 1
        if self._calls == READY:
            self._recorded = self._record()
        if self._recorded is None:
            return self._work()
        graph, found = self._recorded
        with torch.cuda.device(self._device):
            graph.replay()
        return found

    def _record(self) -> tuple[torch.cuda.CUDAGraph, Tensor] | None:
        """The graph and what its replays give; None where it cannot be made. Nothing is done yet."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.cuda.stream(_stream(self._device)):
                # Other threads, such as the collectives' watchdog, go on with what a recording forbids.
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    found = self._work()
                finally:
                    graph.capture_end()
        except _FAILURES as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(f"kernels are started one by one, as recording them failed: {reason}", stacklevel=2)
            return None
        return graph, found


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: recordings cannot be made on the stream that all else runs on."""
    return torch.cuda.Stream(device)
