"""A team from what a finished run leaves, as it is deployed."""

from __future__ import annotations

import shutil

import pytest
import torch
from served_run import finished_run, questions
from small_runs import small

from maporl_cli.agents import policy as policies
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.randomness import Greedy
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Episode
from maporl_cli.worker import final_model
from maporl_cli.worker.final_model import devices, open_final_model
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.session import Session
from maporl_cli.worker.systems import trained_session

QUIET = Narrator("none")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    return finished_run(tmp_path_factory.mktemp("final"))


@pytest.fixture
def own(run, tmp_path) -> RunDir:
    """A copy that a test may damage."""
    return RunDir(shutil.copytree(run.path, tmp_path / "run"))


def said(session: Session) -> list[list[tuple[int, ...]]]:
    episodes = [Episode(question, 0, 0) for question in questions(4)]
    session.team.play(episodes, Greedy())
    return [[turn.token_ids for turn in episode.turns] for episode in episodes]


def test_a_final_model_says_what_the_checkpoint_of_the_same_weights_says(run):
    expected = said(trained_session(run, run.load_config(), QUIET))
    assert len({str(one) for one in expected}) == 4
    assert said(open_final_model(run, QUIET)) == expected


def test_nothing_but_config_and_final_model_is_needed(own, tmp_path):
    expected = said(open_final_model(own, QUIET))
    shutil.rmtree(own.checkpoints)
    unpacked = RunDir(own.path.rename(tmp_path / "unpacked"))
    assert said(open_final_model(unpacked, QUIET)) == expected


def test_adapters_are_put_on_their_base(run, tmp_path):
    sets = [f"model.name={run.final_model / 'planner'}", "model.finetune=lora", "model.lora_r=4"]
    adapted = finished_run(tmp_path, config=small(tmp_path, *sets, name="lora"))
    assert {path.name for path in (adapted.final_model / "planner").iterdir()} >= {"adapter_config.json"}
    expected = said(trained_session(adapted, adapted.load_config(), QUIET))
    opened = open_final_model(adapted, QUIET)
    assert said(opened) == expected
    assert expected != said(open_final_model(run, QUIET))
    models = {id(policy._model) for policy in opened.policies.values()}
    assert len(models) == 1  # one base for all of a device
    weights = adapted.final_model / "analyst" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(MissingError, match="damaged") as told:
        open_final_model(adapted, QUIET)
    assert str(weights) in told.value.where


@pytest.mark.parametrize(
    ("gpus", "places"), [(0, [None] * 4), (1, [0, 0, 0, 0]), (3, [0, 1, 2, 0]), (8, [0, 1, 2, 3])]
)
def test_agents_go_round_the_gpus(monkeypatch, gpus, places):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert [device.index for device in devices(4)] == places
    assert {device.type for device in devices(4)} == {"cuda" if gpus else "cpu"}


def test_each_device_gets_its_own_agents(run, monkeypatch):
    monkeypatch.setattr(
        final_model, "devices", lambda agents: [torch.device("cpu", n % 2) for n in range(agents)]
    )
    built = []
    build = final_model.build_policies

    def seen(config, vocabulary, device, say, names):
        built.append((device.index, list(names)))
        return build(config, vocabulary, torch.device("cpu"), say, names)

    monkeypatch.setattr(final_model, "build_policies", seen)
    opened = open_final_model(run, QUIET)
    assert built == [(0, ["planner", "analyst"]), (1, ["researcher", "reporter"])]
    monkeypatch.undo()
    assert said(opened) == said(open_final_model(run, QUIET))


def test_a_run_that_has_not_finished_says_how_to_finish_it(own):
    shutil.rmtree(own.final_model / "reporter")
    with pytest.raises(MissingError, match="no final model") as told:
        open_final_model(own, QUIET)
    assert "nothing of reporter;" in told.value.why
    assert told.value.fix.endswith(f"maporl train --resume --name run --output-dir {own.path.parent}")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_final_model_is_told_by_its_file(own, name):
    file = own.final_model / "analyst" / name
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(MissingError) as told:
        open_final_model(own, QUIET)
    assert "analyst" in told.value.message
    file.unlink()
    with pytest.raises(MissingError):
        open_final_model(own, QUIET)


def test_what_a_plugin_saved_is_not_guessed_at(own, monkeypatch):
    monkeypatch.setitem(policies._PLUGINS, "tiny", lambda name: None)
    with pytest.raises(ConfigError, match=r"(?s)'planner' cannot be loaded.*Fix: maporl ask --run"):
        open_final_model(own, QUIET)


def test_files_that_a_config_names_are_found_in_a_deployed_model(own):
    plugin = """
from maporl_cli.agents.roles import register_role_book, role_book
from dataclasses import replace
register_role_book(replace(role_book("clinic"), name="shipped"))
"""
    changed = own.config.read_text().replace("roles: clinic", "roles: shipped")
    changed = changed.replace("evidence: pool", "evidence: /gone/1-pool.jsonl")
    own.config.write_text(changed.replace("plugins: []", "plugins: [/gone/0-book.py]"))
    with pytest.raises(ConfigError, match="plug-in is not there"):
        open_final_model(own, QUIET)
    files = own.path / "files"
    files.mkdir()
    (files / "0-book.py").write_text(plugin)
    (files / "1-pool.jsonl").write_text('{"id": "s1", "text": "2010"}\n')
    opened = open_final_model(own, QUIET)
    assert opened.book.name == "shipped"
    episode = Episode(questions(1)[0], 0, 0)
    opened.team.play([episode], Greedy())
    assert [snippet.id for snippet in episode.evidence] == ["s1"]
