"""A training on this machine: in this process, or on several ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maporl_cli.core.config import Config


def train_here(
    config: Config, *, nproc: int, max_restarts: int = 0, resume: bool, **options: Any
) -> Mapping[str, Any]:
    """Train on `nproc` ranks; the `done` event.

    Args:
        max_restarts: as `backends.local.train_on_ranks`.
        options: as `worker.train`.

    Raises:
        MaporlError: as those two.
    """
    if nproc == 1 and not max_restarts:
        from maporl_cli.worker import train

        return train(config, resume=resume, **options)
    from maporl_cli.backends.local import train_on_ranks
    from maporl_cli.core.run_dir import named

    return train_on_ranks(
        config if resume else named(config),
        nproc=nproc,
        max_restarts=max_restarts,
        resume=resume,
        **options,
    )
