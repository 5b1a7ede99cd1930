"""One agent, asked several times, whose answers are counted: what a team has to beat at equal tokens.

Self-consistency (Wang et al. 2023, arXiv 2203.11171).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode
from maporl_cli.evaluation.evaluate import Player


class Majority:
    """Asks the agent `votes` times and answers what most of its answers are.

    Args:
        agent: a team of one; it should sample, or all of its answers are the same.
        votes: how often it is asked.
    """

    def __init__(self, agent: Player, votes: int) -> None:
        self._agent = agent
        self._votes = votes

    def play_all(
        self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
    ) -> None:
        """Fill in each episode: the turns of all its votes, and their answer."""
        asked = [
            [
                Episode(question=episode.question, sample=vote, step=episode.step)
                for episode in batch
                for vote in range(self._votes)
            ]
            for batch in batches
        ]

        def close(index: int) -> None:
            for place, episode in enumerate(batches[index]):
                own = asked[index][place * self._votes : (place + 1) * self._votes]
                episode.turns += [turn for one in own for turn in one.turns]
                episode.answer = elected([one.answer for one in own])
            if on_end is not None:
                on_end(index)

        self._agent.play_all(asked, draws, close)


def elected(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer; among equals, the one that was given first. Unreadable ones do not vote."""
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts, key=counts.__getitem__) if counts else None


def votes_for(team_tokens: int, agent_tokens: int) -> int:
    """How many of the agent's answers cost about as many tokens as the team's one; at least 1.

    Args:
        team_tokens, agent_tokens: read and sampled by either on the same questions.
    """
    return max(1, round(team_tokens / agent_tokens))
