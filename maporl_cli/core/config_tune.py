"""The config's section of `maporl tune`: what is searched, by what, and for how long."""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from maporl_cli.core.config_section import Count, Section


def _number(value: object) -> object:
    """YAML reads 1e-5, without a point, as text."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value) else value


Choice = Annotated[bool | int | float | str | None, BeforeValidator(_number)]
_LEARNING = ("team", "model", "rollout", "reward", "train")
"""The sections that decide how a team learns; the others say what is measured, and where."""


class Range(Section):
    """All values between two, both included: whole numbers, where the key takes nothing between them."""

    low: int | float
    high: int | float
    log: bool = False
    """Equally often in each decade, for what varies by factors."""

    @model_validator(mode="after")
    def _upwards(self) -> Range:
        if not self.low < self.high:
            raise ValueError(
                f"a range goes from the lower to the higher value, and {self.low} is not below {self.high}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a range by factors cannot begin at {self.low}: low > 0, or log: false")
        return self


def _searched_only(space: object) -> object:
    """A key that a preset searches is left out with null."""
    if not isinstance(space, dict):
        return space
    told = cast("dict[object, object]", space)
    return {key: values for key, values in told.items() if values is not None}


def _guide_space() -> dict[str, tuple[Choice, ...] | Range]:
    return {
        "train.learning_rate": (1e-5, 3e-5, 5e-5),
        "train.num_epochs": Range(low=10, high=20),
        "train.batch_size": (4, 8, 12),
        "reward.safety_penalty_weight": Range(low=1.0, high=5.0),
    }


def _kind(values: object) -> str:
    return "range" if isinstance(values, dict | Range) else "choices"


Searched = Annotated[
    Annotated[tuple[Choice, ...], Field(min_length=1), Tag("choices")] | Annotated[Range, Tag("range")],
    Discriminator(_kind),
]


class TuneConfig(Section):
    """The search of `maporl tune`, here and on SageMaker."""

    space: Annotated[dict[str, Searched], BeforeValidator(_searched_only)] = Field(
        default_factory=_guide_space
    )
    """Of each key that is searched its choices, `[1e-5, 3e-5]`, or its range, `{low: 10, high: 20}`;
    null leaves out one that a preset searches."""
    objective: Literal["eval:accuracy", "eval:sampled_accuracy"] = "eval:accuracy"
    """What is made as high as can be: accuracy on the tuning questions, of likeliest or sampled answers."""
    eval_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of the training questions on which trials are compared. The evaluation questions are left
    for the one team that is trained in the end."""
    max_trials: Count = 12
    parallel: Count | None = None
    """Trials at once; None: as many as there are GPUs for, or 1."""
    strategy: Literal["bayesian", "random", "hyperband"] = "bayesian"
    """How the next trial's values are chosen: by what came of the trials so far (TPE), or at random.
    `hyperband` chooses as `bayesian` does, and stops most trials early."""
    early_stopping: bool = True
    """Stop trials that are worse on the way than half of the others were there."""
    evaluations: Count = 4
    """How often a trial is evaluated: at equal parts of its training, the last at its end."""
    warm_start: tuple[str, ...] = ()
    """On SageMaker, earlier tuning jobs whose trials are learned from."""
    confirm_seeds: Annotated[int, Field(ge=0)] = 3
    """Fresh seeds that the winner is trained again with: its own value is the best of many, so too high."""

    @field_validator("space")
    @classmethod
    def _searchable(cls, space: dict[str, Searched]) -> dict[str, Searched]:
        if not space:
            raise ValueError("nothing would be searched; name a key and its choices or range")
        for key, values in space.items():
            if key.partition(".")[0] not in _LEARNING:
                raise ValueError(
                    f"{key} does not decide how a team learns, as keys of {', '.join(_LEARNING)} do"
                )
            if isinstance(values, tuple) and len(set(values)) < len(values):
                raise ValueError(f"{key} has a choice twice")
        return space

    @model_validator(mode="after")
    def _possible(self) -> TuneConfig:
        if self.objective != "eval:accuracy" and self.early_stopping:
            raise ValueError(
                f"{self.objective} is not measured on the way, so nothing can be stopped by it: "
                "tune.early_stopping=false"
            )
        return self
