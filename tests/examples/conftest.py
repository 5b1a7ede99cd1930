"""What the tests of the examples share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from example_files import ROOT

from maporl_cli.agents import policy as policies
from maporl_cli.agents import roles
from maporl_cli.data import benchmarks
from maporl_cli.rewards import component as rewards


@pytest.fixture(autouse=True)
def own_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a plug-in registers is gone after the test, so no test depends on another's plug-ins."""
    books = {name: replace(book, roles=dict(book.roles)) for name, book in roles._BOOKS.items()}
    monkeypatch.setattr(roles, "_BOOKS", books)
    monkeypatch.setattr(policies, "_PLUGINS", dict(policies._PLUGINS))
    monkeypatch.setattr(rewards, "_COMPONENTS", dict(rewards._COMPONENTS))
    monkeypatch.setattr(benchmarks, "_registered", dict(benchmarks._registered))
    monkeypatch.chdir(ROOT)  # the commands name plug-ins by paths from here
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("maporl_plugin_"):
            del sys.modules[name]
