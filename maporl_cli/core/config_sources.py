"""Where a config's values come from, and which of them wins.

defaults < preset < `--config FILE` < `MAPORL_<SECTION>__<KEY>` < `--set a.b=c` < named flags.
Sections merge key by key. A list (`team.agents`) from a later source replaces the earlier
one, except that a path may reach into it: `team.agents.planner.temperature=0.7`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from maporl_cli.core import config_yaml
from maporl_cli.core.config import Config, Section
from maporl_cli.core.config_check import check, mistyped
from maporl_cli.core.config_keys import is_table, item_type, nearest, section_type, unknown_key
from maporl_cli.core.errors import ConfigError, UsageError

PREFIX = "MAPORL_"
RESERVED = frozenset({"MAPORL_DEBUG", "MAPORL_DISPLAY"})
"""Environment names that are no config keys."""


@dataclass(frozen=True)
class Loaded:
    """A config and, for each of its values, where it came from.

    Attributes:
        config: the checked config.
        origin: dotted key to `default`, `preset clinic`, a file's path, `environment MAPORL_…`,
            `--set` or the name of a flag. The items of `team.agents` are keyed by index.
    """

    config: Config
    origin: Mapping[str, str]


def preset_names() -> list[str]:
    """The names that `--preset` knows."""
    folder = files("maporl_cli") / "presets"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def preset_text(name: str) -> str:
    """A preset's YAML as it was written, comments included.

    Raises:
        ConfigError: there is no such preset; the error names those there are.
    """
    known = preset_names()
    if name not in known:
        meant = nearest(name, known)
        asks_for_file = name.endswith((".yaml", ".yml")) or "/" in name
        raise ConfigError(
            f"There is no preset {name!r}.",
            why=f"the presets are {', '.join(known)}",
            fix=f"--config {name}" if asks_for_file else f"--preset {meant or known[0]}",
        )
    return (files("maporl_cli") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def load_config(
    *,
    preset: str | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Loaded:
    """Merges all sources and checks the result.

    Args:
        preset: a name from `preset_names`.
        file: a YAML file of sections.
        environ: the environment; names that do not start with `MAPORL_` are ignored.
        sets: `a.b=value` as given to `--set`, in order; the value is YAML.
        flags: values of named flags by dotted key (`run.seed`); None means not given.

    Raises:
        ConfigError: an unknown key, an unusable value, a contradiction, an unreadable file.
        UsageError: an item of `sets` has no `=`.
    """
    layers = _Layers()
    if preset is not None:
        layers.merge(config_yaml.read_text(preset_text(preset), f"preset {preset}"), f"preset {preset}")
    if file is not None:
        layers.merge(config_yaml.read_file(file), str(file))
    # Shallow names first, so that a whole list is there before a path reaches into it.
    for name in sorted(environ or {}, key=lambda name: (name.count("__"), name)):
        if name.startswith(PREFIX) and name not in RESERVED:
            path = name.removeprefix(PREFIX).lower().split("__")
            layers.assign(path, _Text((environ or {})[name]), f"environment {name}")
    for item in sets:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"--set {item} has no value.", fix="--set SECTION.KEY=VALUE, as in --set train.max_steps=10"
            )
        layers.assign(key.strip().split("."), _Text(text), "--set")
    for key, value in (flags or {}).items():
        if value is not None:
            layers.assign(key.split("."), value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    config = check(layers.values, layers.origin)
    return Loaded(config, {key: layers.origin.get(key, "default") for key in flat(config)})


def changed(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """`config` with other values of some dotted keys.

    Args:
        source: who gives them, for errors.

    Raises:
        ConfigError: as `load_config`.
    """
    layers = _Layers()
    layers.merge(config.model_dump(mode="json"), "before")
    for key, value in values.items():
        layers.assign(key.split("."), value, source)
    return check(layers.values, layers.origin)


def flat(config: Config) -> dict[str, Any]:
    """Every value of a config by its dotted key, in order; `team.agents` by index."""
    return dict(_leaves(config.model_dump(mode="json"), ""))


def _leaves(values: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(cast("dict[str, Any]", value), f"{at}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(cast("list[dict[str, Any]]", value)):
                yield from _leaves(item, f"{at}{key}.{index}.")
        else:
            yield f"{at}{key}", value


@dataclass(frozen=True)
class _Text:
    """A value given as text, on the command line or in the environment."""

    raw: str


@dataclass
class _Layers:
    """The values given so far, and who gave each."""

    values: dict[str, Any] = field(default_factory=dict[str, Any])
    origin: dict[str, str] = field(default_factory=dict[str, str])

    def merge(self, layer: Mapping[str, Any], source: str) -> None:
        """Lays a mapping of sections over what is there."""
        self._put_section(self.values, Config, layer, source, "")

    def assign(self, path: Sequence[str], value: object, source: str) -> None:
        """Sets the one key that `path` names."""
        self._assign(self.values, Config, path, value, source, "")

    def _assign(
        self,
        into: dict[str, Any],
        section: type[Section],
        path: Sequence[str],
        value: object,
        source: str,
        at: str,
    ) -> None:
        key, rest = path[0], path[1:]
        here = f"{at}{key}"
        found = _field(section, key, here, source)
        inner, item = section_type(found.annotation), item_type(found.annotation)
        if not rest:
            self._put(into, found, key, value, source, here)
        elif inner is not None:
            self._assign(into.setdefault(key, {}), inner, rest, value, source, f"{here}.")
        elif item is not None:
            items: list[dict[str, Any]] = into.setdefault(key, _default_items(found))
            index = _index(items, rest[0], here, source)
            if len(rest) == 1:
                self._put_section(items[index], item, _plain(value, here, source), source, f"{here}.{index}.")
            else:
                self._assign(items[index], item, rest[1:], value, source, f"{here}.{index}.")
        elif is_table(found.annotation):
            self._put_table(
                into.setdefault(key, {}), {".".join(rest): _plain(value, here, source)}, source, here
            )
        else:
            raise ConfigError(
                f"There is no config key {'.'.join([here, *rest])}.",
                where=source,
                why=f"{here} is a value and holds no keys",
                fix=f"set {here} itself",
            )

    def _put(
        self, into: dict[str, Any], found: FieldInfo, key: str, value: object, source: str, here: str
    ) -> None:
        inner, item = section_type(found.annotation), item_type(found.annotation)
        if inner is not None:
            self._put_section(
                into.setdefault(key, {}), inner, _plain(value, here, source), source, f"{here}."
            )
        elif is_table(found.annotation):
            self._put_table(into.setdefault(key, {}), _plain(value, here, source), source, here)
        elif item is not None:
            self._put_items(into, item, key, _plain(value, here, source), source, here)
        else:
            if isinstance(value, _Text):
                value = _read_text(value, found.annotation, here, source)
            if isinstance(value, bool) and found.annotation is not bool:
                # Python counts true as 1; a reader of the config does not.
                raise mistyped(here, value, "a value other than true or false", source)
            into[key] = value
            self.origin[here] = source

    def _put_section(
        self, into: dict[str, Any], section: type[Section], layer: object, source: str, at: str
    ) -> None:
        if layer is None:  # a heading with every key below it commented out
            return
        if not isinstance(layer, Mapping):
            raise mistyped(at.rstrip("."), layer, "keys and values", source)
        for key, value in cast("Mapping[object, object]", layer).items():
            here = f"{at}{key}"
            self._put(into, _field(section, str(key), here, source), str(key), value, source, here)

    def _put_items(
        self, into: dict[str, Any], item: type[Section], key: str, value: object, source: str, here: str
    ) -> None:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise mistyped(here, value, "a list", source)
        for name in [name for name in self.origin if name.startswith(f"{here}.")]:
            del self.origin[name]
        items: list[dict[str, Any]] = []
        for index, layer in enumerate(cast("Sequence[object]", value)):
            items.append({})
            self._put_section(items[-1], item, layer, source, f"{here}.{index}.")
        into[key] = items
        self.origin[here] = source

    def _put_table(self, into: dict[str, Any], layer: object, source: str, here: str) -> None:
        if layer is None:
            return
        if not isinstance(layer, Mapping):
            raise mistyped(here, layer, "names and values", source)
        for name, value in cast("Mapping[object, object]", layer).items():
            into[str(name)] = value
            for key, _ in _leaves({str(name): value}, f"{here}."):
                self.origin[key] = source


def _field(section: type[Section], key: str, here: str, source: str) -> FieldInfo:
    if key not in section.model_fields:
        raise unknown_key(here, section.model_fields, source)
    return section.model_fields[key]


def _default_items(found: FieldInfo) -> list[dict[str, Any]]:
    defaults = cast("Sequence[Section]", found.get_default(call_default_factory=True))
    return [item.model_dump(exclude_unset=True) for item in defaults]


def _index(items: Sequence[Mapping[str, Any]], name: str, here: str, source: str) -> int:
    names = [str(item.get("name")) for item in items]
    if name in names:
        return names.index(name)
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    meant = nearest(name, names)
    raise ConfigError(
        f"There is no {here}.{name}.",
        where=source,
        why=f"the items are {', '.join(names)}, numbered from 0",
        fix=f"did you mean {here}.{meant}?" if meant else f"name one of them, as in {here}.{names[0]}",
    )


def _plain(value: object, here: str, source: str) -> object:
    """`value`, read as YAML where it was given as text."""
    return _parse(value, here, source) if isinstance(value, _Text) else value


def _parse(text: _Text, here: str, source: str) -> object:
    try:
        return config_yaml.parse_value(text.raw)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"The value of {here} is not YAML: {text.raw}",
            where=source,
            why=str(getattr(error, "problem", None) or error),
            fix=f"quote it, as in '{here}=\"…\"'",
        ) from error


def _read_text(text: _Text, annotation: Any, here: str, source: str) -> object:
    """The YAML value, or the text itself where only that fits (`run.name=2024` is a name)."""
    adapter: TypeAdapter[object] = TypeAdapter(annotation)
    value = _parse(text, here, source)
    for candidate in (value, text.raw):
        try:
            adapter.validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    return value
