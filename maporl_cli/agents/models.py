"""Pretrained models: from a name to a directory, and from a directory to a model and its tokenizer."""

from __future__ import annotations

import difflib
import errno
import re
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download  # pyright: ignore[reportUnknownVariableType]
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from maporl_cli.agents.model_files import KNOWN_MODELS, check_model, manifest_faults, models_directory
from maporl_cli.core.errors import ConfigError, MissingError

HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""Everything that loading needs; leaves out copies of the weights in other formats."""

HUB_TIMEOUT = 10
"""Seconds that the hub has for its first answer."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def resolve(name: str, *, offline: bool = False) -> Path:
    """The directory of a model that is ready to be loaded.

    Args:
        name: a model that `maporl model pull` knows (write `./NAME` for a directory of that name),
            a directory, or a hub id such as `Qwen/Qwen2.5-0.5B-Instruct`, which is taken from the
            hub's own cache and downloaded only if it is not whole there.
        offline: download nothing; a model that is not whole here is an error.

    Raises:
        MissingError: the model is not there, not whole, or cannot be downloaded.
    """
    if name in KNOWN_MODELS:
        return _pulled(name)
    directory = Path(name).expanduser()
    if directory.is_dir():
        check_model(directory, fix="give a directory with config.json, model.safetensors and tokenizer.json")
        return directory
    if _HUB_ID.fullmatch(name):
        return _from_hub(name, offline=offline)
    close = difflib.get_close_matches(name, KNOWN_MODELS, n=1)
    raise MissingError(
        f"There is no model {name!r}.",
        why="it is no directory, no hub id (org/name), and no name that `maporl model pull` knows",
        fix=f"did you mean {close[0]}?"
        if close
        else f"give a directory, or one of: {', '.join(KNOWN_MODELS)}",
    )


def can_be_pulled(name: str) -> bool:
    """Whether a model's name is one that a machine without it may find elsewhere."""
    return name in KNOWN_MODELS or _HUB_ID.fullmatch(name) is not None


def download(repo: str, *, revision: str | None = None, into: Path | None = None) -> Path:
    """Brings a model's files from the Hugging Face hub and returns their directory.

    Args:
        revision: a commit; the newest if None.
        into: the directory to fill; None fills the hub's own cache, shared with other programs.

    Raises:
        MissingError: the hub cannot be reached, or refuses.
        OSError: the disk is full or not writable.
    """
    try:
        # Asked first, and once: snapshot_download tries for half a minute where there is no network.
        HfApi().model_info(repo, revision=revision, timeout=HUB_TIMEOUT)
        path = snapshot_download(
            repo, revision=revision, local_dir=into, allow_patterns=list(HUB_FILES), etag_timeout=HUB_TIMEOUT
        )
    except (
        Exception
    ) as error:  # the hub's client raises errors of its own, of its HTTP library and of the system
        if isinstance(error, OSError) and error.errno in _DISK_TROUBLE:
            raise
        raise _no_download(repo, error) from error
    return Path(path)


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model directory, with a chat template and a pad token.

    A tokenizer without a pad token pads with its end-of-sequence token. Nothing is lost by that:
    masks come from lengths, never from comparing ids with the pad id.

    Raises:
        MissingError: its files cannot be read.
        ConfigError: it has no chat template, one that fails, or neither a pad nor an end token.
    """
    # tokenizer.json is the whole tokenizer. AutoTokenizer may rebuild it by the class that
    # tokenizer_config.json names instead, and drop parts: GPT2Tokenizer loses SmolLM2's digit splitting.
    loader: Any = PreTrainedTokenizerFast if (path / "tokenizer.json").is_file() else AutoTokenizer
    try:
        tokenizer: PreTrainedTokenizerBase = loader.from_pretrained(path, local_files_only=True)
    except Exception as error:  # the Rust side raises bare exceptions
        raise MissingError(
            "The model's tokenizer cannot be read.",
            where=str(path),
            why=_first_line(error),
            fix="bring the tokenizer files again, or choose another model",
        ) from error
    _check_chat_template(tokenizer, path)
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                "The model's tokenizer has neither a pad token nor an end-of-sequence token.",
                where=str(path),
                fix='set "pad_token" and "eos_token" in its tokenizer_config.json',
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The causal language model of a directory, in evaluation mode on the CPU, weights in `dtype`.

    Raises:
        MissingError: its files cannot be read, or do not hold every weight that it needs: a weight
            left at random would go unnoticed otherwise.
    """
    fix = "bring the model's files again, or choose another model"
    check_model(path, fix=fix)
    loader: Any = AutoModelForCausalLM
    try:
        with quiet_loading():
            model, info = loader.from_pretrained(
                path,
                dtype=dtype,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, by name
            )
    except Exception as error:  # transformers lets errors of every kind through for a file that it can't use
        if isinstance(error, MemoryError):
            raise
        raise MissingError(
            "The model cannot be loaded.", where=str(path), why=_first_line(error), fix=fix
        ) from error
    lacking = sorted({*_names(info["missing_keys"]), *_names(info["mismatched_keys"])})
    if lacking:
        raise MissingError(
            f"{len(lacking)} weights of the model are missing or of the wrong shape.",
            where=str(path),
            why=f"the first is {lacking[0]}",
            fix=fix,
        )
    return model.eval()


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token id that ends a turn: of the generation config, of the config and of the tokenizer.

    They often differ: a chat model ends a turn with one token and a document with another.

    Raises:
        ConfigError: there is none, so that no turn could ever end.
    """
    sources = (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config, "eos_token_id", None),
        tokenizer.eos_token_id,
    )
    ids: set[int] = set()
    for source in sources:
        if isinstance(source, int):
            ids.add(source)
        elif source is not None:
            ids.update(int(value) for value in source)
    if not ids:
        raise ConfigError(
            "The model has no end-of-sequence token, so none of its turns could end.",
            where=str(model.name_or_path),
            fix='set "eos_token_id" in its generation_config.json',
        )
    return frozenset(ids)


@contextmanager
def quiet_loading() -> Generator[None]:
    """Without the progress bars of transformers, which would break a live display."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def quiet_checkpointing() -> Generator[None]:
    """Without the warning that transformers will drop the name by which gradient checkpointing is asked for,
    by peft as by us: no other one is known to all of its versions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*gradient_checkpointing")
        yield


def _pulled(name: str) -> Path:
    directory, fix = models_directory() / name, f"maporl model pull {name}"
    if not directory.is_dir():
        raise MissingError(f"The model {name} is not on this machine yet.", where=str(directory), fix=fix)
    faults = manifest_faults(directory, thorough=False)
    if faults:
        raise MissingError(
            f"The model {name} is damaged on this machine.",
            where=str(directory),
            why="; ".join(faults),
            fix=fix,
        )
    check_model(directory, fix=fix)
    return directory


def _from_hub(repo: str, *, offline: bool) -> Path:
    fix = "connect to the internet and run this again; the rest of the files is then downloaded"
    try:
        cached = Path(snapshot_download(repo, local_files_only=True, allow_patterns=list(HUB_FILES)))
        check_model(cached, fix=fix)
        return cached
    except (LocalEntryNotFoundError, MissingError) as error:
        if offline:
            raise MissingError(
                f"The model {repo} is not on this machine yet.", fix=f"maporl model pull {repo}"
            ) from error
        path = download(repo)
        check_model(path, fix=fix)
        return path


def _no_download(repo: str, error: Exception) -> MissingError:
    if isinstance(error, GatedRepoError):
        why, fix = "its owner wants you to accept terms first", "accept them on its page, then set HF_TOKEN"
    elif isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        why, fix = (
            "the hub has no such model, or it is private",
            "check the name; for a private one set HF_TOKEN",
        )
    else:
        why = f"the Hugging Face hub cannot be reached ({_first_line(error)})"
        fix = (
            "connect to the internet, or copy the model's files (config.json, model.safetensors, "
            "tokenizer.json, tokenizer_config.json) here and give their directory as the model's name"
        )
    return MissingError(
        f"The model {repo} is neither a directory nor in the hub's cache here, and cannot be downloaded.",
        why=why,
        fix=fix,
    )


def _check_chat_template(tokenizer: Any, path: Path) -> None:
    fix = "choose an instruct model, or put its chat template into the directory as chat_template.jinja"
    if not tokenizer.chat_template:
        raise ConfigError(
            "The model's tokenizer has no chat template, so it cannot tell who speaks.",
            where=str(path),
            fix=fix,
        )
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    except Exception as error:  # a template is a program, and can fail in any way
        raise ConfigError(
            "The chat template of the model's tokenizer fails.",
            where=str(path),
            why=_first_line(error),
            fix=fix,
        ) from error


def _names(keys: Iterable[Any]) -> list[str]:
    """Names of weights; a mismatched one comes with its two shapes."""
    return [key if isinstance(key, str) else str(key[0]) for key in keys]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
