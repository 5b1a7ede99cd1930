"""Answers without talk: the option whose letter a model finds likeliest below the question is its answer.

What is weighed is " A", " B", … (of PubMedQA " yes", " no", " maybe"), by the sum of their tokens'
log-probabilities: as in lm-evaluation-harness, as are the formats (`evaluation.plain_formats`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

import torch

from maporl_cli.agents.policy import NotFinite, PlainReader, Speaker, memory_errors
from maporl_cli.agents.turns import refuse_too_long
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.evaluation.evaluate import one_after_another
from maporl_cli.evaluation.plain_formats import MMLU, PlainFormat

Ids = tuple[int, ...]


class Letters:
    """Answers with the likeliest letter.

    Its turn is that letter, read below the prompt, so a question costs its prompt once, however many options
    it has.

    Args:
        agent: whose policy is asked.
        policy: None where another rank has it, which is then the one that plays.
        format: how the question is shown.
        stopping: asked before each batch.

    Raises:
        ConfigError: the policy reads no plain text.
    """

    def __init__(
        self,
        agent: str,
        policy: Speaker | None,
        format: PlainFormat = MMLU,
        *,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        if not (policy is None or isinstance(policy, PlainReader)):
            raise ConfigError(
                f"The policy of the agent {agent!r} cannot be asked for a letter alone.",
                where="--scoring loglikelihood",
                why="it is a plug-in that reads no text without its chat template",
                fix="give it `encode_plain` (agents.policy.PlainReader), or leave out --scoring",
            )
        self._agent = agent
        self._policy = policy
        self._format = format
        self._stopping = stopping

    def play_all(
        self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
    ) -> None:
        """Fill in turn and answer of each episode, whose question has options; nothing is drawn.

        Raises:
            DataError: a question does not fit the model's context.
            ConfigError: to the model's tokenizer two letters are one.
            NotFinite: the policy gave no probabilities.
            Interrupted: the user wants to stop.
        """
        one_after_another(batches, self._play, self._stopping, on_end)

    def _play(self, episodes: Sequence[Episode]) -> None:
        policy = self._policy
        assert policy is not None, "an agent is asked where its policy is"
        asked = [self._encoded(policy, episode.question) for episode in episodes]
        rows = [(prompt, ids) for prompt, letters in asked for ids in letters.values()]
        found: list[tuple[float, ...]] = []
        # Options multiply the rows; the memory was chosen for so many rows as there are questions.
        for start in range(0, len(rows), len(episodes)):
            found += self._weighed(policy, rows[start : start + len(episodes)])
        told = iter(found)
        for episode, (prompt, letters) in zip(episodes, asked, strict=True):
            logprobs = {letter: next(told) for letter in letters}
            # Of equals the first, as there.
            answer = max(logprobs, key=lambda letter: sum(logprobs[letter]))
            episode.answer = answer
            episode.turns.append(
                Turn(
                    agent=self._agent,
                    round=0,
                    prompt_ids=prompt,
                    token_ids=letters[answer],
                    logprobs=logprobs[answer],
                    text=answer,
                    finished=True,
                    policy_version=policy.version,
                )
            )

    def _weighed(self, policy: PlainReader, rows: Sequence[tuple[Ids, Ids]]) -> list[tuple[float, ...]]:
        """The log-probability of each token of each row's letter."""
        prompts, letters = [prompt for prompt, _ in rows], [ids for _, ids in rows]
        with torch.no_grad(), memory_errors(self._agent, "weighing letters", "eval.batch_size"):
            scored = policy.score(prompts, letters, temperature=1.0).logprobs.tolist()
        found = [tuple(row[: len(ids)]) for row, ids in zip(scored, letters, strict=True)]
        if not all(isfinite(logprob) for row in found for logprob in row):
            raise NotFinite("log-probability of a letter", self._agent)
        return found

    def _encoded(self, policy: PlainReader, question: Question) -> tuple[Ids, Mapping[str, Ids]]:
        """The prompt, and what each letter adds to it.

        As in the harness, both are encoded together and split where the prompt alone ends: by itself a letter
        would have other tokens with some tokenizers, such as the one that begins a document.
        """
        text = self._format.prompt(question)
        prompt = policy.encode_plain(text)
        letters = {
            letter: policy.encode_plain(f"{text} {choice}")[len(prompt) :]
            for letter, choice in self._format.choices(question).items()
        }
        if len({ids for ids in letters.values() if ids}) < len(letters):
            raise ConfigError(
                f"The model of the agent {self._agent!r} cannot tell one letter from another.",
                where=f"question {question.id}",
                why=f"its tokenizer makes the same tokens of two of {', '.join(letters)}",
                fix="use a model with another tokenizer, or leave out --scoring",
            )
        longest = max(map(len, letters.values()))
        refuse_too_long(self._agent, policy, question, prompt, longest)
        return prompt, letters
