"""What an evaluation may be asked for, whoever asks: the command, or a rank that is told it in JSON."""

from __future__ import annotations

from typing import Any

import pytest

from maporl_cli.core.config import Config
from maporl_cli.core.errors import UsageError
from maporl_cli.core.systems import BASELINES, CHECKS
from maporl_cli.worker import Request, evaluate_run


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"baselines": ("nonsense",)}, "--baselines"),
        ({"checks": ("nonsense",)}, "--checks"),
        ({"loglikelihood": True, "checks": ("shuffled",)}, "--checks"),
        ({"loglikelihood": True, "baselines": ("single",)}, "--baselines"),
        ({"loglikelihood": True, "endpoint": "http://localhost:1"}, "--endpoint"),
        ({"loglikelihood": True, "sampled": True}, "--sampled"),
        ({"loglikelihood": True, "sampled": True, "seeds": 2}, "--seeds"),
    ],
)
def test_a_contradiction_is_refused_before_anything_is_read(asked: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError) as told:
        evaluate_run(Config(), Request(**asked), display="none")
    assert told.value.what.startswith(option)
    assert told.value.fix


def test_what_goes_together_is_not() -> None:
    Request(baselines=BASELINES, checks=CHECKS, sampled=True, seeds=3).refuse_contradictions()
    Request(baselines=("untrained",), loglikelihood=True).refuse_contradictions()
    Request(loglikelihood=True).refuse_contradictions()
