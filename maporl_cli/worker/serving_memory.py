"""What each GPU of an endpoint needs to hold a team and to answer with it: an estimate, from shapes alone."""

from __future__ import annotations

from collections.abc import Sequence

from maporl_cli.agents.blueprint import Blueprint, blueprints
from maporl_cli.agents.build import model_of
from maporl_cli.core.config import AgentConfig, Config
from maporl_cli.core.request_limits import CHARACTERS
from maporl_cli.training.memory import RankMemory, prompt_tokens, sampling

_CHARACTERS_A_TOKEN = 4
"""An estimate, of English prose. Numbers, drug names and other scripts take more tokens."""


def serving_memory(config: Config, gpus: int) -> Sequence[RankMemory]:
    """What each GPU needs at least, or the RAM where there is none, as `worker.final_model` places agents.

    Weights are in fp32, as they are loaded, but for the base that adapters share. Nothing learns. There is
    room for one question; more are answered at once as far as memory goes (`serving.served_team`).

    Raises:
        ConfigError: as `blueprints`.
        MissingError: a model is not on this machine, so its shapes are not known.
    """
    if config.model.dtype == "auto":  # what this machine would choose is of no matter
        dtype = "bf16" if gpus else "fp32"
        config = config.model_copy(update={"model": config.model.model_copy(update={"dtype": dtype})})
    prints = blueprints(config)
    seats = [(seat, prints[model_of(seat, config)]) for seat in config.team.agents]
    devices = [seats[place::gpus] for place in range(min(gpus, len(seats)))] if gpus else [seats]
    return [
        RankMemory(
            model=sum({one.model: one.shared_bytes for _, one in held}.values())
            + sum(one.own_bytes for _, one in held),
            # Agents answer one after the other, so the largest call counts.
            cache=max(_largest_call(seat, one) for seat, one in held),
        )
        for held in devices
    ]


def _largest_call(seat: AgentConfig, blueprint: Blueprint) -> int:
    """Bytes of an agent's call for one question, as long as one may be and its context goes."""
    prompt = prompt_tokens(seat, blueprint, CHARACTERS // _CHARACTERS_A_TOKEN)
    return sampling(blueprint, 1, prompt, seat.max_new_tokens)
