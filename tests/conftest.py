"""What all tests share. One thread a process: the tests themselves run side by side."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Read when torch and tokenizers are first imported, which no test module has done yet.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Ranks whose store goes away with rank 0 say so at length.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

# What CI finds, it finds every time.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own environment and terminal decide nothing here."""
    for name in list(os.environ):
        if name.startswith("MAPORL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real question files beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real question files in ../shared/data")
    return folder
