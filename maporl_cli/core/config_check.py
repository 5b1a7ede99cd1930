"""From merged values to a checked `Config`; complaints name the key and where it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from maporl_cli.core.batch_arithmetic import contradiction
from maporl_cli.core.config import Config, RolloutConfig, TrainConfig
from maporl_cli.core.config_keys import key_at
from maporl_cli.core.errors import ConfigError

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "string_type": "text (put it in quotes)",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "tuple_type": "a list, such as [a, b]",
    "too_short": "a list with at least one item",
    "string_too_short": "text that is not empty",
    "path_type": "a path",
}

_MAY_BE_SECRET = ("sagemaker.environment", "sagemaker.secrets", "sagemaker.tags")


def check(values: Mapping[str, Any], origin: Mapping[str, str]) -> Config:
    """The config that `values` spell; keys not in `values` take their defaults.

    Raises:
        ConfigError: values are mistyped, out of range, or contradict each other.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems: dict[str, list[ErrorDetails]] = {}
        for problem in error.errors():
            problems.setdefault(key_at(problem["loc"]), []).append(problem)
        # A list with a bad item is itself called bad; the item says it better.
        for key in [key for key in problems if any(other.startswith(f"{key}.") for other in problems)]:
            del problems[key]
        if list(problems) == [""]:
            raise _batch_error(problems[""][0], values, origin) from None
        raise _value_error(problems, origin) from None


def mistyped(key: str, value: object, expected: str, source: str) -> ConfigError:
    """The error for a value of the wrong type, naming the key, the value and what is expected."""
    return ConfigError(
        f"{key} cannot be {_shown(key, value)}.",
        where=source,
        why=f"expected {expected}",
        fix=f"give {key} {expected}",
    )


def _shown(key: str, value: object) -> str:
    """A value in an error; but for where secrets are, or are mistaken to belong."""
    hidden = key == "sagemaker" or key.startswith(_MAY_BE_SECRET)
    return f"what it was given (a {type(value).__name__}, not shown here)" if hidden else repr(value)


def _value_error(problems: Mapping[str, list[ErrorDetails]], origin: Mapping[str, str]) -> ConfigError:
    told = {key: " or ".join(dict.fromkeys(map(_expected, found))) for key, found in problems.items()}
    key, found = next(iter(problems.items()))
    if len(problems) == 1:
        if found[0]["type"] == "value_error":
            return ConfigError(
                f"{key} contradicts itself.", where=_sources(key, origin), why=told[key], fix=f"correct {key}"
            )
        if found[0]["type"] == "missing":
            return ConfigError(f"{key} is missing.", where=_sources(key, origin), fix=f"give {key} a value")
        if isinstance(found[0]["loc"][-1], int):
            return ConfigError(
                f"An item of {key} cannot be {_shown(key, found[0]['input'])}.",
                where=_sources(key, origin),
                why=f"expected {told[key]}",
                fix=f"let every item of {key} be {told[key]}",
            )
        return mistyped(key, found[0]["input"], told[key], _sources(key, origin))
    lines = [
        f"{key} is {_given(key, problems[key][0])} ({_sources(key, origin)}); expected {text}"
        for key, text in told.items()
    ]
    return ConfigError(
        f"{len(problems)} config values cannot be used.",
        why="\n  ".join(["", *lines]),
        fix="correct them as told above",
    )


def _given(key: str, problem: ErrorDetails) -> str:
    return "missing" if problem["type"] == "missing" else _shown(key, problem["input"])


def _expected(problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return "a value"
    if problem["type"] == "string_pattern_mismatch":
        return f"text that matches {problem.get('ctx', {}).get('pattern')}"
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _EXPECTED:
        return _EXPECTED[problem["type"]]
    message = problem["msg"].partition(", unable to ")[0]
    for start in ("Input should be ", "Input should "):
        message = message.removeprefix(start)
    return f"a number {message}" if message.startswith(("greater than", "less than")) else message


def _sources(key: str, origin: Mapping[str, str]) -> str:
    """Where `key` was given; for a key that was not, where the nearest part of the config around it was."""
    while key:
        given = [source for name, source in origin.items() if name == key or name.startswith(f"{key}.")]
        if given:
            return ", ".join(dict.fromkeys(given))
        key = key.rpartition(".")[0]
    return "default"


def _batch_error(problem: ErrorDetails, values: Mapping[str, Any], origin: Mapping[str, str]) -> ConfigError:
    train = TrainConfig.model_validate(values.get("train", {}))
    group_size = RolloutConfig.model_validate(values.get("rollout", {})).group_size
    keys = (
        "train.batch_size",
        "rollout.group_size",
        "train.per_device_train_batch_size",
        "train.gradient_accumulation_steps",
    )
    where = ", ".join(f"{key} ({origin.get(key, 'default')})" for key in keys)
    return contradiction(problem["msg"].removeprefix("Value error, "), train, group_size, where=where)
