"""The config's keys as a tree: which exist, which is nearest to a misspelt one, what a value must be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args, get_origin

from maporl_cli.core.config import Config, Section
from maporl_cli.core.errors import ConfigError


def section_type(annotation: Any) -> type[Section] | None:
    """The section a key holds, or None where it holds a value."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def item_type(annotation: Any) -> type[Section] | None:
    """The section that a list of sections repeats (`team.agents`), or None."""
    arguments = get_args(annotation)
    return section_type(arguments[0]) if get_origin(annotation) is tuple and arguments else None


def is_table(annotation: Any) -> bool:
    """Whether a key holds values under free names (`reward.extra_weights`)."""
    return get_origin(annotation) is dict


def all_keys(section: type[Section] = Config, at: str = "") -> Iterator[str]:
    """Every dotted key that holds a value; a list of sections counts as one."""
    for name, field in section.model_fields.items():
        inner = section_type(field.annotation)
        if inner is not None:
            yield from all_keys(inner, f"{at}{name}.")
        else:
            yield f"{at}{name}"


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    matches = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return matches[0] if matches else None


def nearest_key(dotted: str, siblings: Iterable[str]) -> str | None:
    """The existing key that was probably meant by the unknown key `dotted`.

    A close spelling in the same section comes first, then a key of that very name elsewhere
    (`train.group_size` lives in `rollout`), then the closest spelling anywhere.
    """
    at, _, name = dotted.rpartition(".")
    sibling = difflib.get_close_matches(name, list(siblings), n=1, cutoff=0.75)
    if sibling:
        return f"{at}.{sibling[0]}" if at else sibling[0]
    known = list(all_keys())
    for key in known:
        if key.rpartition(".")[2] == name:
            return key
    return nearest(dotted, known)


def unknown_key(dotted: str, siblings: Iterable[str], source: str) -> ConfigError:
    """The error for a key that does not exist, naming where it was given and the nearest one."""
    siblings = list(siblings)
    meant = nearest_key(dotted, siblings)
    if meant is None:
        known = ", ".join(siblings)
        fix = f"use one of {known}; `maporl config show` prints every key"
    elif source.startswith("environment"):
        fix = f"did you mean MAPORL_{meant.replace('.', '__').upper()}?"
    else:
        fix = f"did you mean {meant}? `maporl config show` prints every key"
    return ConfigError(f"There is no config key {dotted}.", where=source, fix=fix)


def key_at(location: Sequence[int | str]) -> str:
    """The dotted key that a validation error's location names, without the tags of unions."""
    parts: list[str] = []
    annotation: Any = Config
    for part in location:
        section, item = section_type(annotation), item_type(annotation)
        if section is not None:
            if part not in section.model_fields:
                break
            annotation = section.model_fields[str(part)].annotation
        elif item is not None and isinstance(part, int):
            annotation = item
        elif is_table(annotation):
            annotation = None
        else:
            break
        parts.append(str(part))
    return ".".join(parts)
