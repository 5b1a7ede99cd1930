"""The team as one LangGraph graph over a batch of episodes.

Training, evaluation, `maporl ask` and a served endpoint all run this graph. Its state is a
batch with a mask of the episodes still active: a node is one batched call of an agent over
the active ones, and the edge after the last agent loops while any is active. A batch enters the
graph where its episodes stand, so that one which holds turns already is played on from there.
Several batches may be on their way through the graph at once; where and when their turns are
taken is the stage's business (`agents.stage`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from maporl_cli.agents.evidence import Evidence
from maporl_cli.agents.policy import Speaker
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.agents.rounds import has_settled
from maporl_cli.agents.stage import Place, Stage
from maporl_cli.agents.turns import refuse_too_long, take_turns, unsampled_turn
from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode, Snippet, Turn

_DECIDE_MEMORY = (
    "how many episodes are sampled together (raise rollout.microbatches; eval.batch_size in evaluations) "
    "or team.agents.*.max_new_tokens"
)
_DECIDE_LENGTH = "team.agents.*.max_new_tokens, team.evidence_top_k or team.max_rounds_per_episode"


@dataclass(frozen=True, slots=True)
class Agent:
    """A seat in the team: a role and a policy, None where another rank has it.

    Attributes:
        silent: it takes its turns without a word, and its policy is not asked.
    """

    name: str
    role: Role
    policy: Speaker | None
    max_new_tokens: int
    temperature: float
    silent: bool = False


class Batch(TypedDict):
    """The graph's state."""

    play: int
    index: int
    episodes: Sequence[Episode]
    draws: Draws
    active: list[bool]
    round: int


class Team:
    """Agents that take turns on questions; the last one's report is the answer.

    Args:
        agents: in speaking order; at least one.
        book: the role book the agents' roles come from (it lays out prompts).
        evidence: where snippets come from.
        max_rounds: passes through the team at most.
        stage: decides where and when turns are taken.
        plays: numbers for plays, which no other team uses on this stage; None: it has the stage alone.

    Attributes:
        agents, book: as given.
        max_turns: that an episode can have.
    """

    def __init__(
        self,
        agents: Sequence[Agent],
        book: RoleBook,
        evidence: Evidence,
        max_rounds: int,
        stage: Stage,
        *,
        plays: Iterator[int] | None = None,
    ) -> None:
        self.agents = tuple(agents)
        self.book = book
        self._evidence = evidence
        self._max_rounds = max_rounds
        self.max_turns = max_rounds * len(self.agents)
        self._stage = stage
        self._plays = plays or count(1)
        graph = StateGraph(Batch)
        # Not the bare name: an agent may be called `round` or `episodes`, as the state's keys are.
        names = [f"turn of {agent.name}" for agent in self.agents]
        for name, agent in zip(names, self.agents, strict=True):
            graph.add_node(name, self._node(agent))
        graph.add_node("close_round", self._close_round)
        for before, after in zip(names, [*names[1:], "close_round"], strict=True):
            graph.add_edge(before, after)
        graph.add_conditional_edges(START, self._entry(names), [*names, "close_round"])
        graph.add_conditional_edges("close_round", self._next_round(names[0]), [names[0], END])
        self._graph = graph.compile()

    def play(self, episodes: Sequence[Episode], draws: Draws) -> None:
        """Run the team on one batch of episodes; as `play_all`."""
        self.play_all([episodes], draws)

    def play_all(
        self,
        batches: Sequence[Sequence[Episode]],
        draws: Draws,
        on_end: Callable[[int], None] | None = None,
    ) -> None:
        """Run the team on batches of episodes at once, filling in their turns and answers.

        An episode that holds turns already is played on from there, draw for draw as if it had been played
        from its beginning; one that ends with a round has its answer read, and its end decided on, anew.
        Ranks that share the team must all be given the same batches.

        Args:
            batches: the episodes of a batch hold equally many turns, in the team's speaking order.
            on_end: told the index of each batch as it ends.

        Raises:
            ValueError: the episodes of a batch do not stand at the same place.
            DataError: a prompt does not fit a model's context; names the question and the agent.
            NotFinite: a policy gave no probabilities; names the agent.
        """
        asyncio.run(self._play_all(next(self._plays), batches, draws, on_end))

    def silenced(self, name: str) -> Team:
        """The same team, in which one agent takes its turns and says nothing."""
        agents = [replace(agent, silent=True) if agent.name == name else agent for agent in self.agents]
        return Team(agents, self.book, self._evidence, self._max_rounds, self._stage, plays=self._plays)

    async def _play_all(
        self,
        number: int,
        batches: Sequence[Sequence[Episode]],
        draws: Draws,
        on_end: Callable[[int], None] | None,
    ) -> None:
        steps = self._max_rounds * (len(self.agents) + 1) + 1

        async def play(index: int, episodes: Sequence[Episode]) -> None:
            active = [True] * len(episodes)
            round = self._round_of(episodes)
            await self._graph.ainvoke(
                Batch(play=number, index=index, episodes=episodes, draws=draws, active=active, round=round),
                config={"recursion_limit": steps},
            )
            if on_end is not None:
                on_end(index)

        plays = [asyncio.create_task(play(index, batch)) for index, batch in enumerate(batches) if batch]
        try:
            await asyncio.gather(*plays)
        finally:
            for one in plays:
                one.cancel()
            # Where one failed the others may fail alike; asyncio would print what nobody asks for.
            await asyncio.gather(*plays, return_exceptions=True)

    def _node(self, agent: Agent):  # a closure for LangGraph, typed by its inner function
        async def speak(state: Batch) -> dict[str, object]:
            active = [episode for episode, on in zip(state["episodes"], state["active"], strict=True) if on]
            place = Place(state["play"], state["index"], state["round"], agent.name)
            turns = await self._stage.turns(
                place, lambda: self._take_turns(agent, active, state["round"], state["draws"])
            )
            for episode, turn in zip(active, turns, strict=True):
                episode.turns.append(turn)
            return {}

        return speak

    def _take_turns(self, agent: Agent, active: Sequence[Episode], round: int, draws: Draws) -> list[Turn]:
        if agent.silent:
            return [unsampled_turn(agent.name, round) for _ in active]
        policy = _policy_of(agent)
        found = [self._retrieve(agent, episode) for episode in active]
        prompts = self._prompts(agent, policy, active, found)
        turns = take_turns(
            agent.name,
            policy,
            prompts,
            [draws.generator(episode, round, agent.name) for episode in active],
            round=round,
            max_new_tokens=agent.max_new_tokens,
            temperature=agent.temperature,
            lower=_DECIDE_MEMORY,
        )
        return [replace(turn, evidence=snippets) for turn, snippets in zip(turns, found, strict=True)]

    def prompts(self, agent: Agent, episodes: Sequence[Episode]) -> list[tuple[int, ...]]:
        """What the agent would be asked in each episode if it spoke now, as token ids; its policy is here.

        Raises:
            DataError: a prompt does not fit the model's context.
        """
        found = [self._retrieve(agent, episode) for episode in episodes]
        return self._prompts(agent, _policy_of(agent), episodes, found)

    def _retrieve(self, agent: Agent, episode: Episode) -> tuple[Snippet, ...]:
        if "evidence" not in agent.role.sees:
            return ()
        heard = " ".join(turn.text for turn in episode.turns)
        return self._evidence.retrieve(episode.question, f"{episode.question.text} {heard}")

    def _prompts(
        self,
        agent: Agent,
        policy: Speaker,
        episodes: Sequence[Episode],
        found: Sequence[tuple[Snippet, ...]],
    ) -> list[tuple[int, ...]]:
        texts = [
            render_prompt(self.book, agent.role, episode.question, snippets, episode.turns)
            for episode, snippets in zip(episodes, found, strict=True)
        ]
        # The episodes of a group ask the same until their teammates' turns differ.
        encoded = {text: policy.encode(text) for text in dict.fromkeys(texts)}
        for text, episode in zip(texts, episodes, strict=True):
            refuse_too_long(
                agent.name,
                policy,
                episode.question,
                encoded[text],
                agent.max_new_tokens,
                lower=_DECIDE_LENGTH,
            )
        return [encoded[text] for text in texts]

    def _round_of(self, episodes: Sequence[Episode]) -> int:
        """The round in which these episodes stand; one that has heard all agents has yet to end."""
        taken = {len(episode.turns) for episode in episodes}
        if len(taken) > 1:
            raise ValueError(f"the episodes of a batch have different numbers of turns: {sorted(taken)}")
        return max(0, taken.pop() - 1) // len(self.agents)

    def _entry(self, names: Sequence[str]):  # a closure for LangGraph, typed by its inner function
        async def route(state: Batch) -> str:
            rounds, spoken = divmod(len(state["episodes"][0].turns), len(names))
            return "close_round" if rounds and not spoken else names[spoken]

        return route

    def _next_round(self, first: str):  # a closure for LangGraph, typed by its inner function
        async def route(state: Batch) -> str:
            return first if any(state["active"]) else END

        return route

    async def _close_round(self, state: Batch) -> dict[str, object]:
        reporter = self.agents[-1].name
        last = state["round"] + 1 == self._max_rounds
        active = list(state["active"])
        for index, episode in enumerate(state["episodes"]):
            if active[index]:
                episode.answer = self.book.read(episode.question, episode.turns[-1].text)
                active[index] = not last and not has_settled(
                    episode.question, episode.turns, reporter, self.book.read
                )
        return {"active": active, "round": state["round"] + 1}


def _policy_of(agent: Agent) -> Speaker:
    assert agent.policy is not None, "an agent is asked where its policy is"
    return agent.policy
