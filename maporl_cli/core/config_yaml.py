"""Config as YAML: reading files and single values, writing a file that is itself runnable."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel

from maporl_cli.core.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Plain YAML, except that a key given twice is an error: the first one would vanish silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_value(text: str) -> Any:
    """The value that `text` spells in YAML: `3`, `[a, b]`, `null`, `{name: planner}`.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    return yaml.load(text, Loader=_Loader)


def read_file(path: Path) -> dict[str, Any]:
    """A config file's mapping; an empty file is an empty mapping.

    Raises:
        ConfigError: the file is absent, unreadable, no YAML, or not a mapping of sections.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"There is no config file {path}.",
            fix="check the path; `maporl config show` prints a config to start from",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"The config file {path} cannot be read.",
            why=str(why),
            fix="give a readable YAML text file to --config",
        ) from error
    return read_text(text, str(path))


def read_text(text: str, name: str) -> dict[str, Any]:
    """As `read_file`, for text that came from `name`."""
    try:
        values = parse_value(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        raise ConfigError(
            f"{name} is not YAML.",
            where=where,
            why=str(getattr(error, "problem", None) or error),
            fix="correct that line; `maporl config show` prints an example",
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{name} is not a config: it holds a {type(values).__name__} where sections are expected.",
            fix="write sections with keys below them, such as `train:` and below it `  max_steps: 10`",
        )
    return cast("dict[str, Any]", values)


def to_yaml(config: BaseModel, origin: Mapping[str, str] | None = None) -> str:
    """`config` as YAML that `--config` reads back to an equal config.

    Args:
        config: the whole config.
        origin: where each value came from, by dotted key; written beside it as a comment.
    """
    return "\n".join(_mapping_lines(config.model_dump(mode="json"), origin or {}, "", "")) + "\n"


def _mapping_lines(
    values: Mapping[str, Any], origin: Mapping[str, str], at: str, indent: str
) -> Iterator[str]:
    for key, value in values.items():
        dotted = f"{at}.{key}" if at else key
        if isinstance(value, dict) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _mapping_lines(cast("dict[str, Any]", value), origin, dotted, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{_scalar(key)}:"
            for index, item in enumerate(cast("list[dict[str, Any]]", value)):
                lines = _mapping_lines(item, origin, f"{dotted}.{index}", indent + "    ")
                # The dash takes the place of the first line's last two blanks.
                yield f"{indent}  - {next(lines).lstrip()}"
                yield from lines
        else:
            comment = f"  # {origin[dotted]}" if dotted in origin else ""
            yield f"{indent}{_scalar(key)}: {_scalar(value)}{comment}"


def _scalar(value: Any) -> str:
    # Text with control or unassigned characters is escaped, all other is left readable.
    escaped = isinstance(value, str) and not value.isprintable()
    text = yaml.safe_dump(
        value,
        default_flow_style=True,
        default_style='"' if escaped else None,
        allow_unicode=not escaped,
        width=1 << 20,
    )
    return text.removesuffix("\n...\n").rstrip("\n")
