"""Settings that are allowed, and in vain."""

from __future__ import annotations

from collections.abc import Iterator

from maporl_cli.core.config import Config


def cautions(config: Config) -> Iterator[str]:
    """A sentence, without its full stop, for each of them."""
    if config.train.credit == "influence" and config.team.max_rounds_per_episode == 1:
        yield (
            "train.credit=influence pays for changed answers, and in one round nobody can change his; set "
            "team.max_rounds_per_episode=2 or more"
        )
