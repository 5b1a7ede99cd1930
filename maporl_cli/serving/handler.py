"""The one inference handler: the four functions that SageMaker's inference toolkits call, and `maporl serve`.

A deployed model's `code/inference.py` imports them from here. The toolkits answer a request at a time;
`maporl serve` gathers those that wait (`serving.batches`) between `input_fn` and `output_fn`.
"""

from __future__ import annotations

import json
from pathlib import Path

from maporl_cli.core.run_dir import RunDir
from maporl_cli.serving.requests import Asked, read_request
from maporl_cli.serving.served_team import Reply, ServedTeam, open_team

_MARKUP = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}
"""Signs that begin something in HTML, as JSON may write them inside of text, the only place they stand in."""


def model_fn(model_dir: str | Path) -> ServedTeam:
    """The team in a run's directory, or in a job's unpacked `model.tar.gz`, on the GPUs that there are.

    Raises:
        ConfigError, MissingError: there is no run, or no final model that can be loaded.
    """
    return open_team(RunDir.existing(Path(model_dir)), "plain")


def input_fn(body: bytes | bytearray | str, content_type: str | None) -> Asked:
    """The questions of a request.

    Raises:
        DataError: they cannot be read; says why.
    """
    return read_request(body, content_type)


def predict_fn(data: Asked, model: ServedTeam) -> Reply:
    """The team's answer to each question.

    Raises:
        DataError: a question cannot be asked: it is too long, or has words that tiny policies do not know.
        RunFailed: the team failed.
    """
    model.refuse(data)
    (reply,) = model.answer([data])
    if isinstance(reply, Exception):
        raise reply
    return reply


def output_fn(prediction: Reply, accept: str | None) -> str:
    """The answers as JSON, whatever is accepted.

    It is ASCII without a sign that begins markup, so what a model wrote does nothing to a terminal or a page.
    """
    return json.dumps(prediction, allow_nan=False).translate(_MARKUP)
