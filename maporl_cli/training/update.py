"""One agent's learner: its policy's optimizer and schedule, and one update from its experiences."""

# torch, safetensors and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import get_scheduler

from maporl_cli.agents.batching import length_mask, pad_right
from maporl_cli.agents.forward import Rows
from maporl_cli.agents.policy import Policy, memory_errors
from maporl_cli.core.config import TrainConfig
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Turn
from maporl_cli.training.critic import Critic, explained_variance, value_loss
from maporl_cli.training.experience import Experience, Gathered
from maporl_cli.training.loss import LossTerms, policy_loss
from maporl_cli.training.optimizer import DECIDE_MEMORY, Optimizer
from maporl_cli.training.ranks import Ranks
from maporl_cli.training.stop import StopRequest

_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class Begun:
    """An update that can still be called off: its first gradient is there, and nothing else has changed.

    Attributes:
        experiences: those of this rank's replica.
        tokens: the active ones of all replicas.
        sums: of this rank's: loss, KL, entropy and clipped tokens; empty where there are no tokens.
    """

    experiences: Sequence[Experience]
    tokens: float
    sums: Sequence[float]


class Learner:
    """Trains one agent's policy.

    Args:
        agent: the agent's name, for metrics and errors.
        policy: what is trained.
        config: the algorithm's numbers.
        total_steps: length of the learning-rate schedule.
        temperature: the agent's sampling temperature; scores are taken under the same distribution.
        learning_rate: peak learning rate.
        ranks: those that hold the agent learn the same, from the experiences of all of them.
        critic: the agent's value head, where the estimator asks one.
        scale_gradients: use a gradient scaler, as fp16 needs.
    """

    def __init__(
        self,
        agent: str,
        policy: Policy,
        config: TrainConfig,
        *,
        total_steps: int,
        temperature: float,
        learning_rate: float,
        ranks: Ranks,
        critic: Critic | None = None,
        scale_gradients: bool = False,
    ) -> None:
        self.agent = agent
        self.policy = policy
        self._config = config
        self._temperature = temperature
        self._ranks = ranks
        self._critic = critic
        parameters = list(policy.trainable().values())
        groups: list[dict[str, Any]] = [{"params": parameters}]
        if critic is not None:
            head = list(critic.head.parameters())
            groups.append({"params": head, "lr": config.ppo.value_learning_rate, "weight_decay": 0.0})
        # The value head's gradient is not clipped: its size says nothing of the policy's.
        self._optimizer = Optimizer(
            agent,
            groups,
            clipped=parameters,
            config=config,
            learning_rate=learning_rate,
            agent=agent,
            ranks=ranks,
            scale_gradients=scale_gradients,
        )
        self._schedule = get_scheduler(
            _SCHEDULES[config.lr_scheduler_type],
            self._optimizer.adamw,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=total_steps,
        )
        self._device = parameters[0].device
        self._keeps_near = config.kl_coeff > 0 and config.kl_in == "loss"

    def begin(self, experiences: Sequence[Experience], stopping: Callable[[], bool]) -> Begun:
        """An update on the agent's active turns: its first gradient, in passes of
        `per_device_train_batch_size` turns.

        A rank that has no experiences while another replica has some takes part with a gradient of zero.

        Args:
            experiences: those of this rank's replica.
            stopping: asked before each pass; where it says yes the gradient is not whole, and the update
                must not be finished.

        Raises:
            NotFinite: the loss is.
        """
        lengths = [len(experience.turn.token_ids) for experience in experiences if experience.turn.finished]
        (tokens,) = self.summed([sum(lengths)])
        sums: list[float] = []
        if tokens:
            with memory_errors(self.agent, "the update", DECIDE_MEMORY):
                sums = self._accumulate(experiences, int(tokens), stopping)
        return Begun(experiences, tokens, sums)

    def finish(self, begun: Begun) -> dict[str, float]:
        """The `train.update_epochs` optimizer steps of an update.

        Without experiences (every group dead) the weights stay and only the schedule moves on.

        Returns:
            `<agent>:loss`, `:entropy` (nats a token), `:grad_norm`, `:tokens`, `:clipped` (share),
            `:kl` (nats a token, k3) where the loss holds it, and `:loss_scale` in fp16, over all replicas, as
            they were in the last epoch; `:explained_variance` of what a value head expected before the
            first one; only `:tokens` when nothing was learned.

        Raises:
            NotFinite: a loss or gradient is, and the weights are as this epoch found them; or the updated
                weights are, or too large for their norm to be told.
        """
        experiences, tokens = begun.experiences, begun.tokens
        metrics: dict[str, float] = {f"{self.agent}:tokens": tokens}
        if tokens:
            with memory_errors(self.agent, "the update", DECIDE_MEMORY):
                sums, grad_norm = self._learn(begun)
            loss, kl, entropy, clipped = self.summed(sums)
            metrics |= {
                f"{self.agent}:loss": loss,
                f"{self.agent}:entropy": entropy / tokens,
                f"{self.agent}:grad_norm": grad_norm,
                f"{self.agent}:clipped": clipped / tokens,
            }
            if self._keeps_near:
                metrics[f"{self.agent}:kl"] = kl / tokens
            if self._critic is not None:
                expected = [value for experience in experiences for value in experience.values]
                targets = [target for experience in experiences for target in experience.targets]
                share = explained_variance(expected, targets, self.summed)
                metrics[f"{self.agent}:explained_variance"] = share
            if (scale := self._optimizer.loss_scale) is not None:
                metrics[f"{self.agent}:loss_scale"] = scale
        with warnings.catch_warnings():
            # torch warns of a schedule that moves on without an update, as in a step of dead groups.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self._schedule.step()
        return metrics

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each value's sum over the replicas."""
        sums = torch.tensor(values, dtype=torch.float64, device=self._device)
        self._ranks.sum_over_replicas(self.agent, sums)
        return sums.tolist()

    def divergence(self, turns: Sequence[Turn]) -> list[list[float]]:
        """log π_sampled − log π_ref of each turn's tokens, nats: k1 of Schulman 2020, "Approximating KL
        divergence", an unbiased estimate that may be negative."""
        with memory_errors(self.agent, "comparing with its reference", DECIDE_MEMORY):
            reference = self._told(turns, self._reference)
        return [
            [sampled - before for sampled, before in zip(turn.logprobs, own, strict=True)]
            for turn, own in zip(turns, reference, strict=True)
        ]

    @torch.no_grad()
    def values(self, turns: Sequence[Turn]) -> list[list[float]]:
        """What the value head expects before each token of each turn."""
        critic = self._critic
        assert critic is not None, "an estimator that asks for values is given a value head"

        def expected(prompts: Rows, completions: Rows) -> Tensor:
            return critic.score(prompts, completions, temperature=self._temperature)[1]

        with memory_errors(self.agent, "asking its value head", DECIDE_MEMORY):
            return self._told(turns, expected)

    def _told(self, turns: Sequence[Turn], tell: Callable[[Rows, Rows], Tensor]) -> list[list[float]]:
        """What `tell` gives for each token, from prompts and completions, in passes of
        `per_device_train_batch_size` turns."""
        found: list[list[float]] = []
        size = self._config.per_device_train_batch_size
        for start in range(0, len(turns), size):
            part = turns[start : start + size]
            prompts, completions = [turn.prompt_ids for turn in part], [turn.token_ids for turn in part]
            rows: list[list[float]] = tell(prompts, completions).double().tolist()
            found += [row[: len(own)] for row, own in zip(rows, completions, strict=True)]
        return found

    def _learn(self, begun: Begun) -> tuple[Sequence[float], float]:
        """All epochs; of the last one, what `_accumulate` tells, and the gradient's norm."""
        sums = begun.sums
        norms: list[float] = []
        for epoch in range(self._config.update_epochs):
            if epoch:
                sums = self._accumulate(begun.experiences, int(begun.tokens), lambda: False)
            # Each replica divided its own gradient by the active tokens of all.
            norms.append(self._optimizer.step())
        self.policy.version += any(math.isfinite(norm) for norm in norms)  # the scaler skips the others
        return sums, norms[-1]

    def _accumulate(
        self, experiences: Sequence[Experience], tokens: int, stopping: Callable[[], bool]
    ) -> list[float]:
        """The gradient of this rank's experiences, and the sums of loss, KL, entropy and clipped tokens."""
        self._optimizer.forget()
        sums = torch.zeros(4, dtype=torch.float64)
        size = self._config.per_device_train_batch_size
        for start in range(0, len(experiences), size):
            if stopping():
                break
            terms, missed = self._loss(experiences[start : start + size], tokens)
            self._optimizer.add(terms.loss + missed)
            sums += torch.stack([terms.loss.detach(), terms.kl, terms.entropy, terms.clipped]).double().cpu()
        return sums.tolist()

    def _loss(self, experiences: Sequence[Experience], tokens: int) -> tuple[LossTerms, Tensor | float]:
        """The policy's loss and the value head's; 0 where there is none."""
        prompts = [experience.turn.prompt_ids for experience in experiences]
        completions = [experience.turn.token_ids for experience in experiences]
        values = None
        if self._critic is None:
            scored = self.policy.score(prompts, completions, temperature=self._temperature)
        else:
            scored, values = self._critic.score(prompts, completions, temperature=self._temperature)
        said = length_mask([len(completion) for completion in completions], scored.logprobs.device)
        finished = torch.tensor([[experience.turn.finished] for experience in experiences])
        terms = policy_loss(
            scored.logprobs,
            _padded([experience.turn.logprobs for experience in experiences], scored.logprobs),
            _padded([experience.advantages for experience in experiences], scored.logprobs),
            said & finished.to(said.device),
            tokens,
            clip=(self._config.clip_ratio, self._config.clip_ratio_high or self._config.clip_ratio),
            entropy=scored.entropy,
            entropy_coeff=self._config.entropy_coeff,
            reference=self._reference(prompts, completions) if self._keeps_near else None,
            kl_coeff=self._config.kl_coeff if self._keeps_near else 0.0,
        )
        if values is None:
            return terms, 0.0
        targets = _padded([experience.targets for experience in experiences], values)
        return terms, value_loss(values, targets, said, tokens)

    def _reference(self, prompts: Rows, completions: Rows) -> Tensor:
        return self.policy.reference_logprobs(prompts, completions, temperature=self._temperature)

    def state(self) -> dict[str, Any]:
        """Everything beside the weights that the next update depends on."""
        return {
            **self._optimizer.state(),
            "schedule": self._schedule.state_dict(),
            "version": self.policy.version,
            "critic": None if self._critic is None else self._critic.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self._optimizer.load_state(state)
        self._schedule.load_state_dict(state["schedule"])
        self.policy.version = state["version"]
        if self._critic is not None:
            self._critic.load_state(state["critic"])


def _padded(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """(rows, longest), of the dtype of `like` and where it is."""
    return pad_right(rows, 0.0, like.dtype).to(like.device)


def update_all(
    learners: Sequence[Learner],
    gathered: Gathered,
    step: int,
    ranks: Ranks,
    timeline: Timeline,
    stop: StopRequest,
) -> dict[str, float]:
    """One update of each learner from its agent's experiences, and their metrics.

    Where a stop comes all learn or none does: the first gradient of every agent, which takes most of the
    time, comes before the first step of any.

    Raises:
        Interrupted: on every rank, where one of them was asked to stop in time: no weight has changed.
    """
    begun: list[Begun] = []
    for learner in learners:
        experiences = gathered.by_agent[learner.agent]
        with timeline.update(learner.agent, step=step, rows=len(experiences)):
            begun.append(learner.begin(experiences, lambda: stop.requested))
    if ranks.any(stop.requested, f"whether to go on with the update of step {step}"):
        raise Interrupted(
            "Stopped before the step changed anything.", fix="run the same command with --resume to go on"
        )
    metrics = {f"{agent}:kl": nats for agent, nats in gathered.kl.items()}
    for learner, update in zip(learners, begun, strict=True):
        with timeline.update(learner.agent, step=step, rows=len(update.experiences)):
            metrics |= learner.finish(update)
    return metrics
