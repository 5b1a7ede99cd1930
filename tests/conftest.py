"""What all tests share. One thread a process: the tests themselves run side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from html_page import blank_plots

# Read when torch and tokenizers are first imported, which no test module has done yet.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Ranks whose store goes away with rank 0 say so at length.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

AWS_SECRET = "wJalrXUtnFEMI"
"""A key that no output may show."""

# What CI finds, it finds every time.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


# Of two workers, none shall come to a long file when the other has nothing left to do.
LONG_FILES = (
    "worker/test_ranks.py",
    "backends/test_local.py",
    "backends/test_sagemaker_container.py",
    "backends/test_sagemaker_launch.py",
    "backends/test_rank_ends.py",
    "backends/test_evaluation_ranks.py",
    "examples/test_examples.py",
    "worker/test_evaluate.py",
    "worker/test_verified_run.py",
    "tuning/test_search.py",
    "worker/test_guarded_runs.py",
    "redteam/test_redteam.py",
    "worker/test_train.py",
    "training/test_exchange.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


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


@pytest.fixture
def undrawn() -> Iterator[pytest.MonkeyPatch]:
    """The plots of pages are blank until `undo()`."""
    with pytest.MonkeyPatch.context() as patched:
        blank_plots(patched)
        yield patched


@pytest.fixture(scope="session")
def amazon() -> Iterator[str]:
    """The address of a server that plays AWS."""
    from moto.server import ThreadedMotoServer  # slow to import, and most tests need none

    found = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    found.start()
    host, port = found.get_host_and_port()
    yield f"http://{host}:{port}"
    found.stop()


@pytest.fixture
def aws(amazon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user of that server, in a folder of its own; its address."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    told = {
        "AWS_ENDPOINT_URL": amazon,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return amazon


@pytest.fixture
def account(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """That user's account, with what a job on SageMaker needs."""
    from sagemaker_account import Account
    from sagemaker_server import add_search, share_models

    share_models(monkeypatch)
    add_search(monkeypatch)
    found = Account()
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", found.prices.address)
    yield found
    found.close()
