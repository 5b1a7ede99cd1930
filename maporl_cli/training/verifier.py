"""A verifier: how likely the team's answer is right, learned from the team's own episodes.

MAPoRL's (Park et al. 2025, arXiv 2502.18439): a language model that reads the question with every view,
the team's turns and the report, and a linear layer on the state at the report's last token;
`P = σ(w·h + b)`. It learns by binary cross-entropy from the episodes whose question has a gold answer,
and judges those whose question has none. Every prediction is made before its episode is learned from, so
that how good they are is told honestly (Dawid 1984, "Statistical Theory: The Prequential Approach").
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from maporl_cli.agents.policy import NotFinite, Readable, memory_errors
from maporl_cli.agents.prompts import render_prompt
from maporl_cli.agents.roles import RoleBook
from maporl_cli.core.config import VERIFIER, Config, TrainConfig
from maporl_cli.core.errors import DataError
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.systems import SINGLE
from maporl_cli.core.types import Episode, Group
from maporl_cli.rewards.stances import chance_right
from maporl_cli.training.calibration import calibration
from maporl_cli.training.critic import head_of
from maporl_cli.training.optimizer import DECIDE_MEMORY, Optimizer
from maporl_cli.training.ranks import Ranks, gathered, share_of
from maporl_cli.training.rollout import distinct_episodes

BATCH = 32
"""Episodes of one optimizer step."""
HEAD_STEP = 0.3
"""Log-odds by which one step may move the head, which starts at zero: its learning rate is that over the
width of what it reads (as Yang et al. 2022, arXiv 2203.03466, scale a last layer's)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An episode as the verifier reads it.

    Attributes:
        prompt_ids: all that any agent may see of the question, and the turns before the last.
        token_ids: the last turn, as it was sampled.
        right: whether its answer is the gold one; None where nobody knows.
        predicted: how likely that was, in [0, 1], before it was learned from; None before the first refresh.
    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    right: bool | None
    predicted: float | None = None


class Verifier:
    """Predicts, and learns on a schedule. It lives beside the last agent, on its rank of each replica.

    Args:
        model: what it reads with, of its own; None on ranks that do not hold the last agent.
        beside: the last agent's name: the replicas of the one are those of the other.
        book: lays out what it reads.
        config: its schedule, and the numbers of the optimizer.
        learning_rate: of the model; the head has its own.
        ranks: who has which agent.
        scale_gradients: use a gradient scaler, as fp16 needs.
    """

    def __init__(
        self,
        model: Readable | None,
        *,
        beside: str,
        book: RoleBook,
        config: Config,
        learning_rate: float,
        ranks: Ranks,
        scale_gradients: bool = False,
    ) -> None:
        self.beside = beside
        self._book = book
        self._config = config
        self._ranks = ranks
        self._share: float | None = None  # of right answers among the episodes that it learned from last
        self._window: list[Reading] = []
        self._judged: list[Reading] = []  # of this step, which may yet be given up
        self._mind = None
        if model is not None:
            self._mind = _Mind(model, config.train, learning_rate, beside, ranks, scale_gradients)

    def judge(self, groups: Sequence[Group]) -> None:
        """Set `verified` of each episode, from the second refresh period on.

        Args:
            groups: those of this rank's replica, the same on each of its ranks.
        """
        episodes = list(distinct_episodes(groups))
        readings: list[Reading] = []
        if self._mind is not None:
            readings = [self._read(self._mind.model, episode) for episode in episodes]
            if self._share is not None:
                chances = self._mind.predict(readings)
                readings = [replace(one, predicted=p) for one, p in zip(readings, chances, strict=True)]
        told = self._ranks.gather_in_replica([one.predicted for one in readings], "the verifier's judgement")
        (spoken,) = [found for found in told if found] or [[]]  # one rank has it, the others say nothing
        chances = dict(zip((episode.key for episode in episodes), spoken, strict=True))
        for group in groups:  # a spine stands in several, each time as an episode of its own
            for episode in group.episodes:
                episode.verified = chances[episode.key]
        # Each replica keeps what all of them have played, and so learns the same at whatever number of them.
        known = [one for one in readings if one.right is not None]
        judged = gathered(self._ranks, known, "what the verifier learns from")
        if self._mind is not None:
            self._judged = judged

    def refresh(self, step: int) -> dict[str, float]:
        """Keep what was judged in this step; every `reward.verifier_refresh` steps, learn from all since
        the last time.

        Returns:
            How good its predictions of them were (`training.calibration`), as `verifier:<name>`; nothing
            on ranks without it, between refreshes, and at the first, which nothing was predicted before.

        Raises:
            NotFinite: a loss or gradient is, or the weights that came of them.
        """
        self._window += self._judged
        self._judged = []
        if self._mind is None or step % self._config.reward.verifier_refresh or not self._window:
            return {}
        window, self._window = self._window, []
        right = [bool(one.right) for one in window]
        predicted = [one.predicted for one in window if one.predicted is not None]
        metrics: dict[str, float] = {}
        if self._share is not None:
            found = calibration(predicted, right, self._share)
            metrics = {f"{VERIFIER}:{name}": value for name, value in found.items()}
        generator = keyed_generator(VERIFIER, self._config.run.seed, step)
        order: list[int] = generator.permutation(len(window)).tolist()
        for start in range(0, len(window), BATCH):
            batch = [window[index] for index in order[start : start + BATCH]]
            self._mind.learn(share_of(self._ranks, batch), len(batch))
        self._share = sum(right) / len(right)
        return metrics

    def _read(self, model: Readable, episode: Episode) -> Reading:
        *heard, last = episode.turns
        role = self._book.role(SINGLE)
        prompt = model.encode(render_prompt(self._book, role, episode.question, episode.evidence, heard))
        if len(prompt) + len(last.token_ids) >= model.context_length:
            raise DataError(
                "What the verifier reads of an episode does not fit its model's context.",
                where=f"question {episode.question.id}",
                why=f"the question, all evidence and the turns before the last are {len(prompt)} tokens, the "
                f"last turn {len(last.token_ids)}; the model can hold {model.context_length}",
                fix="remove or shorten this question; lower team.agents.*.max_new_tokens, "
                "team.evidence_top_k or team.max_rounds_per_episode; or use a model with a longer context",
            )
        right = bool(chance_right(episode)) if episode.question.has_gold else None
        return Reading(prompt, last.token_ids, right)

    def trainable(self) -> Mapping[str, nn.Parameter]:
        """The parameters that learn, the head's among them; none on ranks without it."""
        return {} if self._mind is None else self._mind.parameters

    def state(self) -> dict[str, Any]:
        """Everything beside the weights that the next prediction and refresh depend on."""
        assert self._mind is not None, "asked where it is"
        return {
            **self._mind.state(),
            "share": self._share,
            "window": [(one.prompt_ids, one.token_ids, one.right, one.predicted) for one in self._window],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        assert self._mind is not None, "given to where it is"
        self._mind.load_state(state)
        self._share = state["share"]
        self._window = [Reading(*told) for told in state["window"]]


class _Mind:
    """The model with its head and their optimizer, where they are."""

    def __init__(
        self,
        model: Readable,
        train: TrainConfig,
        learning_rate: float,
        agent: str,
        ranks: Ranks,
        scale_gradients: bool,
    ) -> None:
        self.model = model
        self._rows = train.per_device_train_batch_size
        own = dict(model.trainable())
        self._head = head_of(model)
        head = dict(self._head.named_parameters(prefix="head"))
        self.parameters = own | head
        self._optimizer = Optimizer(
            VERIFIER,
            [
                {"params": list(own.values())},
                {"params": list(head.values()), "lr": HEAD_STEP / model.hidden_width},
            ],
            clipped=list(self.parameters.values()),
            config=train,
            learning_rate=learning_rate,
            agent=agent,
            ranks=ranks,
            scale_gradients=scale_gradients,
        )

    @torch.no_grad()
    def predict(self, readings: Sequence[Reading]) -> list[float]:
        """How likely each answer is right."""
        found: list[float] = []
        with memory_errors(VERIFIER, "judging answers", DECIDE_MEMORY):
            for start in range(0, len(readings), self._rows):
                chances = torch.sigmoid(self._logits(readings[start : start + self._rows]).double())
                if not bool(torch.isfinite(chances).all()):
                    raise NotFinite("judgement", VERIFIER)
                found += chances.tolist()
        return found

    def learn(self, readings: Sequence[Reading], of: int) -> None:
        """One step on this replica's part of a batch of `of` episodes."""
        self._optimizer.forget()
        with memory_errors(VERIFIER, "its refresh", DECIDE_MEMORY):
            for start in range(0, len(readings), self._rows):
                part = readings[start : start + self._rows]
                logits = self._logits(part)
                right = torch.tensor([float(bool(one.right)) for one in part], device=logits.device)
                loss = binary_cross_entropy_with_logits(logits, right.to(logits), reduction="sum")
                self._optimizer.add(loss / of)
            self._optimizer.step()

    def _logits(self, readings: Sequence[Reading]) -> Tensor:
        """(rows,) log-odds."""
        # A state is the one that a token is predicted from: one more token shows that at a turn's last one.
        scored = self.model.score(
            [one.prompt_ids for one in readings],
            [(*one.token_ids, one.token_ids[-1]) for one in readings],
            temperature=1.0,
            hidden=True,
        )
        assert scored.hidden is not None, "it was asked for"
        rows = torch.arange(len(readings), device=scored.hidden.device)
        last = torch.tensor([len(one.token_ids) for one in readings], device=scored.hidden.device)
        return self._head(scored.hidden[rows, last].to(self._head.weight.dtype)).squeeze(-1)

    def state(self) -> dict[str, Any]:
        return self._optimizer.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._optimizer.load_state(state)
