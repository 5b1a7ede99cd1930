"""The team as one LangGraph graph over a batch of episodes.

Training, evaluation, `maporl ask` and a served endpoint all run this graph. Its state is a
batch with a mask of the episodes still active: a node is one batched call of an agent over
the active ones, and the edge after the last agent loops while any is active.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from maporl_cli.agents.evidence import Evidence
from maporl_cli.agents.policy import NotFinite, Policy
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.roles import Role, RoleBook
from maporl_cli.agents.rounds import has_settled
from maporl_cli.core.errors import DataError
from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode, Turn


@dataclass(frozen=True, slots=True)
class Agent:
    """A seat in the team: a role and a policy."""

    name: str
    role: Role
    policy: Policy
    max_new_tokens: int
    temperature: float


class Batch(TypedDict):
    """The graph's state."""

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
    """

    def __init__(self, agents: Sequence[Agent], book: RoleBook, evidence: Evidence, max_rounds: int) -> None:
        self.agents = tuple(agents)
        self._book = book
        self._evidence = evidence
        self._max_rounds = max_rounds
        graph = StateGraph(Batch)
        # Not the bare name: an agent may be called `round` or `episodes`, as the state's keys are.
        names = [f"turn of {agent.name}" for agent in self.agents]
        for name, agent in zip(names, self.agents, strict=True):
            graph.add_node(name, self._node(agent))
        graph.add_node("close_round", self._close_round)
        for before, after in zip([START, *names], [*names, "close_round"], strict=True):
            graph.add_edge(before, after)
        graph.add_conditional_edges(
            "close_round", lambda state: names[0] if any(state["active"]) else END, [names[0], END]
        )
        self._graph = graph.compile()

    def play(self, episodes: Sequence[Episode], draws: Draws) -> None:
        """Run the team on empty episodes, filling in their turns and answers.

        Raises:
            DataError: a prompt does not fit a model's context; names the question and the agent.
            NotFinite: a policy gave no probabilities; names the agent.
        """
        if not episodes:
            return
        steps = self._max_rounds * (len(self.agents) + 1) + 1
        self._graph.invoke(
            Batch(episodes=episodes, draws=draws, active=[True] * len(episodes), round=0),
            config={"recursion_limit": steps},
        )

    def _node(self, agent: Agent):  # a closure for LangGraph, typed by its inner function
        def speak(state: Batch) -> dict[str, object]:
            active = [episode for episode, on in zip(state["episodes"], state["active"], strict=True) if on]
            prompts = self._prompts(agent, active)
            samples = agent.policy.sample(
                prompts,
                [state["draws"].generator(episode, state["round"], agent.name) for episode in active],
                max_new_tokens=agent.max_new_tokens,
                temperature=agent.temperature,
            )
            # Damaged weights babble: their turns are cut and their groups dead, so no loss would ever tell.
            if not all(isfinite(logprob) for sample in samples for logprob in sample.logprobs):
                raise NotFinite("log-probability of a turn", agent.name)
            for episode, prompt, sample in zip(active, prompts, samples, strict=True):
                episode.turns.append(
                    Turn(
                        agent=agent.name,
                        round=state["round"],
                        prompt_ids=prompt,
                        token_ids=sample.token_ids,
                        logprobs=sample.logprobs,
                        text=agent.policy.decode(sample.token_ids),
                        finished=sample.finished,
                        policy_version=agent.policy.version,
                    )
                )
            return {}

        return speak

    def _prompts(self, agent: Agent, episodes: Sequence[Episode]) -> list[tuple[int, ...]]:
        texts = [self._text(agent, episode) for episode in episodes]
        # The episodes of a group ask the same until their teammates' turns differ.
        encoded = {text: agent.policy.encode(text) for text in dict.fromkeys(texts)}
        for text, episode in zip(texts, episodes, strict=True):
            if len(encoded[text]) + agent.max_new_tokens > agent.policy.context_length:
                raise DataError(
                    f"The prompt of the agent {agent.name!r} does not fit its model's context.",
                    where=f"question {episode.question.id}",
                    why=f"{len(encoded[text])} prompt tokens + {agent.max_new_tokens} new ones > "
                    f"{agent.policy.context_length} that the model can hold",
                    fix="remove or shorten this question; lower team.agents.*.max_new_tokens, "
                    "team.evidence_top_k or team.max_rounds_per_episode; or use a model with a longer "
                    "context",
                )
        return [encoded[text] for text in texts]

    def _text(self, agent: Agent, episode: Episode) -> str:
        snippets = ()
        if "evidence" in agent.role.sees:
            heard = " ".join(turn.text for turn in episode.turns)
            snippets = self._evidence.retrieve(episode.question, f"{episode.question.text} {heard}")
        return render_prompt(self._book, agent.role, episode.question, snippets, episode.turns)

    def _close_round(self, state: Batch) -> dict[str, object]:
        reporter = self.agents[-1].name
        last = state["round"] + 1 == self._max_rounds
        active = list(state["active"])
        for index, episode in enumerate(state["episodes"]):
            if active[index]:
                episode.answer = self._book.read(episode.question, episode.turns[-1].text)
                active[index] = not last and not has_settled(
                    episode.question, episode.turns, reporter, self._book.read
                )
        return {"active": active, "round": state["round"] + 1}
