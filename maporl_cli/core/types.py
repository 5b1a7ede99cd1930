"""The words of the project as types: what every other module reads and writes.

A `Question` enters; each agent takes `Turn`s on it; the turns, the final answer and the
reward make an `Episode`. Nothing here knows torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of evidence that an agent may quote by its `id`.

    Attributes:
        level: how strong it is (`guideline`, `rct`, `cohort`, …); may be empty.
    """

    id: str
    text: str
    level: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One question in the shape that every published format is read into.

    Attributes:
        id: unique within its file; derived from the content where the file has none.
        text: the stem, without the options.
        options: letter to text, in the order shown; empty for a free-text question.
        answer: the gold letter, or the gold text where there are no options; empty where nobody knows it.
        context: what is known of the patient beside the stem (a chart, notes); may be empty.
        evidence: the question's own pool of snippets; may be empty.
        rationale: an explanation of the gold answer, never shown to an agent; may be empty.
        labels: `medical_task`, `body_system`, `question_type`, `subject`, … for breakdowns.
    """

    id: str
    text: str
    options: Mapping[str, str]
    answer: str
    context: str = ""
    evidence: tuple[Snippet, ...] = ()
    rationale: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def has_gold(self) -> bool:
        """Whether its right answer is known."""
        return bool(self.answer)


@dataclass(frozen=True, slots=True)
class Turn:
    """One generation by one agent, exactly as it was sampled.

    Attributes:
        agent: the seat that spoke.
        round: counted from 0.
        prompt_ids: token ids the policy was conditioned on.
        token_ids: the sampled ids, the end-of-turn id included where one was sampled.
        logprobs: log-probability (nats) of each sampled id under the very distribution it
            was drawn from, temperature applied; same length as `token_ids`.
        text: the decoded turn, special tokens removed; what teammates read.
        finished: False when the turn was cut at `max_new_tokens`.
        policy_version: number of updates the policy had seen.
        evidence: the snippets that the agent was shown.
        counted: tokens read and sampled, as a server counted them whose ids nobody knows; None: the ids are
            the tokens.
    """

    agent: str
    round: int
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finished: bool
    policy_version: int
    evidence: tuple[Snippet, ...] = ()
    counted: tuple[int, int] | None = None

    @property
    def tokens(self) -> int:
        """How many were read and sampled."""
        return sum(self.counted or (len(self.prompt_ids), len(self.token_ids)))

    @property
    def sampled(self) -> int:
        """How many were sampled."""
        return self.counted[1] if self.counted else len(self.token_ids)

    def record(self) -> dict[str, Any]:
        """The turn in JSON's types, by the attributes' names.

        `dataclasses.asdict` gives the same, but goes through every id and log-probability to copy it.
        """
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return own | {"evidence": tuple(map(asdict, self.evidence))}


@dataclass(frozen=True, slots=True)
class Score:
    """An episode's reward and where it came from.

    Attributes:
        task: the weighted mean of the applicable task components, in [0, 1].
        form: the share of turns in the form their roles ask for, in [0, 1].
        total: what the policies are trained on: `task` plus the format term where it is paid.
        components: each applicable component's value in [0, 1].
        reasons: why a component is zero, by component.
    """

    task: float
    form: float
    total: float
    components: Mapping[str, float]
    reasons: Mapping[str, str]


@dataclass(slots=True)
class Episode:
    """One team run on one question.

    Attributes:
        question: as shown in this episode (options in the order the agents saw).
        sample: index within the question's group.
        step: the training step it belongs to; the seed's index in an evaluation.
        turns: in the order they were taken.
        answer: the final answer (letter or text) or None where none could be read.
        score: set by the reward once the episode is finished; None where nobody can tell what it is worth.
        verified: how likely the answer is right, in [0, 1], as a verifier saw it before the episode was
            scored; None without one, and before it has learned.
        inherited: how many of its first turns were not taken for it: it goes on from another episode's.
        measured: what a credit rule had measured of it, by name: a number a turn, or a number between turns.
    """

    question: Question
    sample: int
    step: int
    turns: list[Turn] = field(default_factory=list[Turn])
    answer: str | None = None
    score: Score | None = None
    verified: float | None = None
    inherited: int = 0
    measured: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])

    @property
    def key(self) -> tuple[str, int]:
        """Which of its step's episodes it is: the question's id, and the sample."""
        return self.question.id, self.sample

    @property
    def taken(self) -> list[Turn]:
        """The turns that were generated for this episode."""
        return self.turns[self.inherited :]

    @property
    def evidence(self) -> tuple[Snippet, ...]:
        """What any agent of the episode was shown, each snippet once."""
        return tuple(dict.fromkeys(snippet for turn in self.turns for snippet in turn.evidence))


@dataclass(frozen=True, slots=True)
class Group:
    """Episodes of one question that are compared with each other.

    Attributes:
        episodes: the same up to where they are compared.
        place: index of the only turn that is compared, and learned from: what comes after it was said in
            another context in each episode; None: all turns are, since nothing but the question is shared.
    """

    episodes: Sequence[Episode]
    place: int | None = None
