"""AdamW steps on gradients that replicas share, with a scaler where fp16 needs one."""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from maporl_cli.agents.policy import NotFinite
from maporl_cli.core.config import TrainConfig
from maporl_cli.training.gradients import sum_gradients
from maporl_cli.training.ranks import Ranks

DECIDE_MEMORY = (
    "train.per_device_train_batch_size, or set model.gradient_checkpointing=true or model.finetune=lora"
)
"""What to lower where an update does not fit, for errors."""
_SMALLEST_SCALE = 1.0
"""A gradient that overflows below it is too large for fp16 as it is, or NaN: no scale would help."""


class Optimizer:
    """Steps of one model.

    Args:
        owner: whose it is, for errors.
        groups: its parameters, in groups as AdamW takes them.
        clipped: those whose gradients' common norm is kept to `train.max_grad_norm`.
        config: the optimizer's numbers.
        learning_rate: of groups that have none of their own.
        agent, ranks: the replicas of this agent share the gradient.
        scale_gradients: use a gradient scaler, as fp16 needs.
    """

    def __init__(
        self,
        owner: str,
        groups: Sequence[dict[str, Any]],
        *,
        clipped: Sequence[nn.Parameter],
        config: TrainConfig,
        learning_rate: float,
        agent: str,
        ranks: Ranks,
        scale_gradients: bool,
    ) -> None:
        self._owner = owner
        self._parameters: list[nn.Parameter] = [one for group in groups for one in group["params"]]
        self._clipped = clipped
        self._most = config.max_grad_norm
        self._agent, self._ranks = agent, ranks
        self.adamw = torch.optim.AdamW(
            groups,
            lr=learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            weight_decay=config.weight_decay,
        )
        device = self._parameters[0].device
        self._scaler = torch.amp.GradScaler(device.type, enabled=scale_gradients)
        # It makes its scale when first used, which a replica with nothing to learn from might never do.
        self._scaler.scale(torch.zeros((), device=device))

    @property
    def loss_scale(self) -> float | None:
        """The scaler's; None without one."""
        return self._scaler.get_scale() if self._scaler.is_enabled() else None

    def forget(self) -> None:
        """Begin a gradient anew."""
        self.adamw.zero_grad(set_to_none=True)

    def add(self, loss: Tensor) -> None:
        """Add a loss's gradient.

        Raises:
            NotFinite: the loss is.
        """
        if not bool(torch.isfinite(loss)):
            raise NotFinite("loss", self._owner)
        self._scaler.scale(loss).backward()

    def step(self) -> float:
        """One step along the sum of the replicas' gradients; its norm before it is clipped.

        Raises:
            NotFinite: the gradient is, and the weights are as they were; or the updated weights are, or too
                large for their norm to be told.
        """
        sum_gradients(self._parameters, self._agent, self._ranks)
        self._scaler.unscale_(self.adamw)
        norm = float(clip_grad_norm_(self._clipped, self._most))
        if not math.isfinite(norm):
            scale = self.loss_scale
            if scale is None:
                raise NotFinite("gradient", self._owner)
            if scale < _SMALLEST_SCALE:
                raise NotFinite(f"gradient, also at a loss scale of {scale:g},", self._owner)
        # An infinite gradient is fp16's business as usual: the scaler skips the step and halves its scale.
        self._scaler.step(self.adamw)
        self._scaler.update()
        # Told now, before a checkpoint keeps them: the next forward would be the first to notice.
        if not bool(torch.isfinite(get_total_norm(self._parameters))):
            raise NotFinite("norm of the updated weights", self._owner)
        return norm

    def state(self) -> dict[str, Any]:
        """What the next step depends on beside the weights."""
        return {"optimizer": self.adamw.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self.adamw.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
