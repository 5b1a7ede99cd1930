"""Adds a reward component: a right answer is worth a little more when the team was brief.

Run it beside the accuracy that the preset weighs with 1:

    maporl train --preset smollm2 --set data.train=FILE --set 'run.plugins=[examples/reward_brevity.py]' \
        --set reward.extra_weights.brevity=0.1

A component is a pure function of a finished episode. Whatever it pays for, the policies will find the
cheapest way to get it, so most of this file closes ways to be paid without being brief: each `if` below
is one. The metric `reward:brevity` shows what it came to.
"""

from __future__ import annotations

import re

from maporl_cli.core.types import Episode
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.rewards.stances import chance_right

FREE = 80
"""Characters an agent may use at no cost: a short sentence."""
WORTHLESS = 400
"""Characters an agent, from which on nothing is paid. Characters and not words or tokens: leaving
out the spaces makes no text shorter, and policies with different tokenizers are paid alike."""

_SAYS_SOMETHING = re.compile(r"\w")


def brevity(episode: Episode) -> Measure | None:
    """1 up to `FREE` characters an agent, falling to 0 at `WORTHLESS`; 0 unless the answer is right.

    None for a question without options: how long its answer has to be is part of what is asked. This
    depends on the question alone. If a team could choose to be left out, it would.
    """
    if not episode.question.options:
        return None
    # Saying little is easy for a team that need not be right, and no wrong answer may out-earn a right one.
    chance = chance_right(episode)  # 0 or 1 where the gold answer is known
    if not chance:
        return Measure(0.0, "the answer is wrong, so its brevity is worth nothing")
    for turn in episode.turns:
        if not _SAYS_SOMETHING.search(turn.text):
            return Measure(0.0, f"the {turn.agent} said nothing, which is not brief")
        if not turn.finished:
            return Measure(0.0, f"the {turn.agent} was cut at its limit, which is not brief")
    # Over all rounds: talking more often in shorter turns is not shorter.
    agents = {turn.agent for turn in episode.turns}
    length = sum(len(turn.text) for turn in episode.turns) / len(agents)
    if length >= WORTHLESS:
        return Measure(0.0, f"{length:.0f} characters an agent; from {WORTHLESS} on they earn nothing")
    return Measure(chance * min(1.0, (WORTHLESS - length) / (WORTHLESS - FREE)))


register_component("brevity", brevity)
