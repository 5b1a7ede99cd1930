"""One agent asked as published figures ask a model: step by step, without examples, and then for the letter.

Words, order, limits and reader are those of MedXpertQA's published evaluation (Zuo et al. 2025, arXiv
2501.18362), which asks MedQA, MedMCQA and MMLU alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maporl_cli.agents.policy import Converser, Message, Speaker
from maporl_cli.agents.stage import stopped
from maporl_cli.agents.turns import refuse_too_long, take_turns
from maporl_cli.core.errors import ConfigError
from maporl_cli.core.randomness import Draws
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.evaluation.evaluate import one_after_another
from maporl_cli.evaluation.official import official_answer, trigger

Talk = list[Message]
_LENGTH = "eval.zero_shot_max_new_tokens"


class ZeroShot:
    """Thinks in a first turn and names the letter in a second one, of which the published reader reads it:
    who was told no form is not judged by ours.

    Args:
        agent: who is asked.
        speaker: None where another rank has it, which is then the one that plays.
        max_new_tokens: of each turn.
        temperature: where turns are sampled; published figures are greedy.
        stopping: asked before each turn of a batch.

    Raises:
        ConfigError: the speaker knows no talks.
    """

    def __init__(
        self,
        agent: str,
        speaker: Speaker | None,
        *,
        max_new_tokens: int,
        temperature: float,
        stopping: Callable[[], bool],
    ) -> None:
        if not (speaker is None or isinstance(speaker, Converser)):
            raise ConfigError(
                f"The policy of the agent {agent!r} cannot be asked with the published prompts.",
                where="--baselines zero_shot",
                why="it is a plug-in that knows no talk of several messages",
                fix="give it `encode_talk` (agents.policy.Converser), or leave out zero_shot",
            )
        self._agent = agent
        self._speaker = speaker
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._stopping = stopping

    def refuse_too_long(self, questions: Sequence[Question]) -> None:
        """Refuses questions whose talk may not fit, which would show in the middle of an evaluation.

        Raises:
            DataError: names the first of them.
        """
        if self._speaker is None:
            return
        for question in questions:
            talk: Talk = [*opening(question), ("assistant", ""), ("user", trigger(question))]
            prompt = self._speaker.encode_talk(talk)
            refuse_too_long(
                self._agent, self._speaker, question, prompt, 2 * self._max_new_tokens, lower=_LENGTH
            )

    def play_all(
        self, batches: Sequence[Sequence[Episode]], draws: Draws, on_end: Callable[[int], None] | None
    ) -> None:
        """Fill in both turns and the answer of each episode, whose question has options.

        Raises:
            DataError: a talk does not fit the model's context.
            Interrupted: the user wants to stop.
        """
        one_after_another(batches, lambda episodes: self._play(episodes, draws), self._stopping, on_end)

    def _play(self, episodes: Sequence[Episode], draws: Draws) -> None:
        speaker = self._speaker
        assert speaker is not None, "an agent is asked where its policy is"
        talks = [opening(episode.question) for episode in episodes]
        thoughts = self._turns(speaker, episodes, talks, draws, round=0)
        if self._stopping():
            raise stopped()
        for episode, talk, thought in zip(episodes, talks, thoughts, strict=True):
            talk += [("assistant", thought.text), ("user", trigger(episode.question))]
        replies = self._turns(speaker, episodes, talks, draws, round=1)
        for episode, thought, reply in zip(episodes, thoughts, replies, strict=True):
            episode.turns += [thought, reply]
            episode.answer = official_answer(episode.question, reply.text)

    def _turns(
        self,
        speaker: Converser,
        episodes: Sequence[Episode],
        talks: Sequence[Talk],
        draws: Draws,
        *,
        round: int,
    ) -> list[Turn]:
        prompts = [speaker.encode_talk(talk) for talk in talks]
        for episode, prompt in zip(episodes, prompts, strict=True):
            refuse_too_long(
                self._agent, speaker, episode.question, prompt, self._max_new_tokens, lower=_LENGTH
            )
        return take_turns(
            self._agent,
            speaker,
            prompts,
            [draws.generator(episode, round, self._agent) for episode in episodes],
            round=round,
            max_new_tokens=self._max_new_tokens,
            temperature=self._temperature,
            lower=f"eval.batch_size or {_LENGTH}",
        )


def opening(question: Question) -> Talk:
    """What the model is told before it thinks.

    A question's own evidence and its context, for which the published prompt has no place, stand above the
    stem.
    """
    options = " ".join(f"({letter}) {text}" for letter, text in question.options.items())
    parts = [*(snippet.text for snippet in question.evidence), question.context, question.text]
    asked = "\n".join([*(part for part in parts if part), f"Answer Choices: {options}"])
    return [
        ("system", "You are a helpful medical assistant."),
        ("user", f"Q: {asked}\nA: Let's think step by step."),
    ]
