"""Asking the job's key-value store, whose host may be lost."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, Queue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def asked(ask: Callable[[], T], *, within: float, otherwise: T) -> T:
    """What `ask` gives, or `otherwise` where the store is gone.

    In a thread: where the store's host was lost nobody answers, and its client waits without end.

    Args:
        ask: asks the store.
        within: seconds that the answer may take.
    """
    found = Queue[T]()

    def put() -> None:
        try:
            found.put(ask())
        except RuntimeError:  # as the client's errors are
            found.put(otherwise)

    Thread(target=put, daemon=True).start()
    try:
        return found.get(timeout=within)
    except Empty:
        return otherwise
