"""A turn as it comes about: a prompt that fits its speaker, one sample of it, and what is kept of both."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from maporl_cli.agents.policy import NotFinite, Speaker, memory_errors
from maporl_cli.core.errors import DataError
from maporl_cli.core.types import Question, Turn


def take_turns(
    agent: str,
    speaker: Speaker,
    prompts: Sequence[tuple[int, ...]],
    generators: Sequence[np.random.Generator | None],
    *,
    round: int,
    max_new_tokens: int,
    temperature: float,
    lower: str,
) -> list[Turn]:
    """One turn a prompt, all sampled together.

    Args:
        lower: the settings that decide how much memory it takes.

    Raises:
        NotFinite: the speaker gave no probabilities; names the agent.
        OutOfMemory: they do not fit; names the agent.
    """
    with memory_errors(agent, "sampling its turns", lower):
        samples = speaker.sample(prompts, generators, max_new_tokens=max_new_tokens, temperature=temperature)
    # Damaged weights babble: their turns are cut and their groups dead, so no loss would ever tell.
    if not all(isfinite(logprob) for sample in samples for logprob in sample.logprobs):
        raise NotFinite("log-probability of a turn", agent)
    return [
        Turn(
            agent=agent,
            round=round,
            prompt_ids=prompt,
            token_ids=sample.token_ids,
            logprobs=sample.logprobs,
            text=speaker.decode(sample.token_ids),
            finished=sample.finished,
            policy_version=speaker.version,
            counted=sample.counted,
        )
        for prompt, sample in zip(prompts, samples, strict=True)
    ]


def unsampled_turn(agent: str, round: int, text: str = "") -> Turn:
    """A turn that no policy is asked for: a silent agent's, or one that a record remembers."""
    return Turn(agent, round, (), (), (), text, finished=True, policy_version=0)


def refuse_too_long(
    agent: str,
    speaker: Speaker,
    question: Question,
    prompt: tuple[int, ...],
    new_tokens: int,
    *,
    lower: str = "",
) -> None:
    """Refuses a prompt that leaves too little room, which would have to be cut.

    Args:
        new_tokens: what has to fit behind it.
        lower: the settings that decide how long both are; empty: none does.

    Raises:
        DataError: names the question and the agent.
    """
    lowering = f"lower {lower}; " if lower else ""
    if len(prompt) + new_tokens > speaker.context_length:
        raise DataError(
            f"The prompt of the agent {agent!r} does not fit its model's context.",
            where=f"question {question.id}",
            why=f"{len(prompt)} prompt tokens + {new_tokens} new ones > {speaker.context_length} that the "
            "model can hold",
            fix=f"remove or shorten this question; {lowering}or use a model with a longer context",
        )
