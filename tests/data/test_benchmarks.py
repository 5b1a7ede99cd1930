from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from maporl_cli.core.errors import ConfigError
from maporl_cli.core.types import Question
from maporl_cli.data import benchmarks
from maporl_cli.data.benchmarks import Bounded, benchmark, benchmark_names, register_benchmark


class Toy:
    roles = "guide"

    def __init__(self, name: str = "toy") -> None:
        self.name = name

    def train(self, seed: int) -> Iterator[Question]:
        return iter(())

    def evaluation(self, seed: int) -> Iterator[Question]:
        return iter(())


class BoundedToy(Toy):
    def bounds(self, seed: int) -> dict[str, float]:
        return {"chance": 0.2}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "_registered", {})


def test_a_registered_benchmark_is_found_by_name():
    toy = Toy()
    register_benchmark(toy)
    assert benchmark("toy") is toy
    assert benchmark_names() == ("clinic", "toy")


def test_registering_the_same_benchmark_again_is_no_clash_but_another_is():
    toy = Toy()
    register_benchmark(toy)
    register_benchmark(toy)
    for other in (Toy(), Toy("clinic")):
        with pytest.raises(ConfigError, match=f"Two benchmarks are named '{other.name}'"):
            register_benchmark(other)


def test_a_built_in_is_imported_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("a_built_in_benchmark")
    module.it = Toy("built")  # type: ignore[attr-defined]
    monkeypatch.setitem(benchmarks._BUILT_IN, "built", "a_built_in_benchmark:it")
    assert "built" in benchmark_names()
    monkeypatch.setitem(sys.modules, "a_built_in_benchmark", module)
    assert benchmark("built") is module.it


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'clinic'") as caught:
        benchmark("clinc")
    assert caught.value.exit_code == 3
    with pytest.raises(ConfigError, match="the path of a file"):
        benchmark("zzz")


def test_bounds_are_optional():
    assert isinstance(BoundedToy(), Bounded)
    assert not isinstance(Toy(), Bounded)
