"""What a rank owes to the process that launched it: its outcome, and to end with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

EVENT = "event.json"
"""Where rank 0 leaves what the job came to, in the folder that its launcher gave."""
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_launcher(launcher: int | None) -> None:
    """Has this rank asked to stop, by SIGHUP, when its launcher is killed and can ask no more.

    Else it would train on unseen, and hold its run and its memory. Only Linux knows how.

    Args:
        launcher: its process, where that is known: it may be dead already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGHUP)
    if launcher is not None and os.getppid() != launcher:
        os.kill(os.getpid(), signal.SIGHUP)
