"""Checkpoints: whole or not at all."""

import json
import shutil

import pytest
import torch
from support import alone, tiny_policy, updated

from maporl_cli.core.config import TrainConfig
from maporl_cli.core.errors import RunFailed
from maporl_cli.training.checkpoint import Checkpoints, Progress, copy_weights, load_checkpoint, load_weights
from maporl_cli.training.update import Learner

RANKS = alone("planner", "fixed")


def policies(seed=0):
    return {"planner": tiny_policy(seed), "fixed": tiny_policy(seed + 10)}


def learners(team):
    return [
        Learner(
            "planner",
            team["planner"],
            TrainConfig(),
            total_steps=100,
            temperature=1.0,
            learning_rate=0.01,
            ranks=RANKS,
        )
    ]


@pytest.fixture(scope="module")
def made():
    """A team with its one learner; nothing here is trained, so it serves all tests."""
    team = policies()
    return team, learners(team)


def write(folder, made, *steps, keep=100, reach=0):
    checkpoints = Checkpoints(folder, keep=keep, reach=reach)
    for step in steps:
        checkpoints.save(Progress(step, step * 10, step / 2), *made, RANKS)
    return checkpoints


def names(folder):
    return sorted(path.name for path in folder.glob("step_*"))


def test_round_trip(tmp_path):
    team = policies()
    mine = learners(team)
    team["planner"].version = 7
    updated(mine[0], [])
    checkpoints = Checkpoints(tmp_path, keep=2)
    path = checkpoints.save(Progress(12, 3456, 7.5), team, mine, RANKS)
    assert path == tmp_path / "step_000012" == checkpoints.latest()
    assert (tmp_path / "latest").read_text() == "step_000012"

    other = policies(seed=50)
    theirs = learners(other)
    assert load_checkpoint(path, other, theirs, RANKS) == Progress(12, 3456, 7.5)
    for agent in team:
        for name, weight in team[agent].trainable().items():
            assert torch.equal(other[agent].trainable()[name], weight), (agent, name)
    assert other["planner"].version == 7
    assert theirs[0].state()["schedule"] == mine[0].state()["schedule"]
    assert sorted(p.name for p in (path / "agents" / "fixed").iterdir()) == ["weights.safetensors"]


def test_the_manifest_names_every_file_with_its_digest(tmp_path, made):
    path = write(tmp_path, made, 1).latest()
    files = json.loads((path / "manifest.json").read_text())["files"]
    assert sorted(files) == [
        "agents/fixed/weights.safetensors",
        "agents/planner/state.pt",
        "agents/planner/weights.safetensors",
        "trainer.json",
    ]
    assert files["trainer.json"]["bytes"] == (path / "trainer.json").stat().st_size


def test_nothing_yet(tmp_path):
    assert Checkpoints(tmp_path / "absent", keep=1).latest() is None


def test_checkpoints_of_which_none_is_whole_are_an_error(tmp_path):
    (tmp_path / "step_000003").mkdir()
    with pytest.raises(RunFailed, match="step_000003"):
        Checkpoints(tmp_path, keep=1).latest()


def truncate(path):
    weights = path / "agents" / "planner" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def flip(path):
    weights = path / "agents" / "planner" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def replace_by_file(path):
    shutil.rmtree(path)
    path.write_text("x")


def promise(path, text):
    (path / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())


DAMAGES = {
    "truncated": truncate,
    "one bit": flip,
    "missing file": lambda path: (path / "trainer.json").unlink(),
    "missing state": lambda path: (path / "agents" / "planner" / "state.pt").unlink(),
    "extra file": lambda path: (path / "agents" / "x").write_text("x"),
    "empty file": lambda path: (path / "trainer.json").write_text(""),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "empty manifest": lambda path: promise(path, ""),
    "cut manifest": lambda path: promise(path, (path / "manifest.json").read_text()[:-20]),
    "binary manifest": lambda path: promise(path, b"\xff\xfe\x00"),
    "list": lambda path: promise(path, "[]"),
    "null": lambda path: promise(path, "null"),
    "number": lambda path: promise(path, "3"),
    "other object": lambda path: promise(path, "{}"),
    "other files": lambda path: promise(path, '{"files": []}'),
    "no files": lambda path: promise(path, '{"files": {}}'),
    "a file": replace_by_file,
    "gone": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, made, damage):
    checkpoints = write(tmp_path, made, 5, 10)
    damage(tmp_path / "step_000010")
    assert checkpoints.latest() == tmp_path / "step_000005"


def test_an_empty_directory_is_not_whole_whatever_its_manifest_says(tmp_path, made):
    checkpoints = write(tmp_path, made, 5)
    (tmp_path / "step_000009").mkdir()
    promise(tmp_path / "step_000009", '{"files": {}}')
    assert checkpoints.latest() == tmp_path / "step_000005"


def test_a_failing_save_leaves_what_was_there(tmp_path, made, monkeypatch):
    checkpoints = write(tmp_path, made, 5)
    monkeypatch.setattr(
        torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(Exception, match="no room left"):
        checkpoints.save(Progress(6), *made, RANKS)
    assert names(tmp_path) == ["step_000005"]
    assert checkpoints.latest() == tmp_path / "step_000005"
    assert (tmp_path / "latest").read_text() == "step_000005"


def test_the_newest_and_the_first_are_kept(tmp_path, made):
    checkpoints = write(tmp_path, made, 0, 1, 2, 3, 4, keep=2)
    assert names(tmp_path) == ["step_000000", "step_000003", "step_000004"]
    assert checkpoints.start() == tmp_path / "step_000000"
    write(tmp_path, made, 5, keep=1)
    assert names(tmp_path) == ["step_000000", "step_000005"]


@pytest.mark.parametrize(("every", "keep", "reach"), [(1, 1, 6), (2, 1, 7), (3, 2, 5), (4, 1, 3), (1, 9, 4)])
def test_one_from_before_a_late_discovery_is_kept(tmp_path, made, every, keep, reach):
    """Between any two saves a guard may fire over the last `reach` steps, and needs an older one."""
    for step in range(0, 30, every):
        checkpoints = write(tmp_path, made, step, keep=keep, reach=reach)
        assert len(names(tmp_path)) <= keep + 3, "the first, the old one and its successor"
        for noticed in range(step, step + every):
            good = checkpoints.before(noticed - reach + 1)
            assert (good is None) == (noticed < reach)
            if good is not None:
                age = noticed - int(good.name[-6:])
                assert reach <= age <= 2 * reach + every


def test_a_damaged_one_is_not_named_as_good(tmp_path, made):
    checkpoints = write(tmp_path, made, 0, 5, 10)
    truncate(tmp_path / "step_000005")
    assert checkpoints.before(10) == tmp_path / "step_000000"
    assert checkpoints.before(11) == tmp_path / "step_000010"
    assert checkpoints.before(0) is None


@pytest.mark.parametrize("damage", [lambda path: truncate(path), shutil.rmtree], ids=["truncated", "gone"])
def test_a_damaged_start_is_an_error_and_not_a_start(tmp_path, made, damage):
    checkpoints = write(tmp_path, made, 0, 1)
    damage(tmp_path / "step_000000")
    with pytest.raises(RunFailed, match="Fix:"):
        checkpoints.start()


def test_the_last_whole_one_is_never_removed_for_damaged_ones(tmp_path, made):
    """A run that passed over damaged newer checkpoints keeps what it writes now, not those."""
    write(tmp_path, made, 0, 10, 20)
    truncate(tmp_path / "step_000020")
    checkpoints = write(tmp_path, made, 15, keep=1)
    assert checkpoints.latest() == tmp_path / "step_000015"
    assert names(tmp_path) == ["step_000000", "step_000015"]


def test_more_than_a_million_steps_are_still_in_order(tmp_path, made):
    checkpoints = write(tmp_path, made, 999_999, 1_000_000, keep=2)
    assert checkpoints.latest() == tmp_path / "step_1000000"
    checkpoints = write(tmp_path, made, 1_000_001, keep=1)
    assert names(tmp_path) == ["step_1000001"]


def test_saving_a_whole_checkpoint_again_leaves_it_alone(tmp_path, made):
    checkpoints = write(tmp_path, made, 5)
    before = (tmp_path / "step_000005" / "manifest.json").stat().st_mtime_ns
    assert checkpoints.save(Progress(5), *made, RANKS) == tmp_path / "step_000005"
    assert (tmp_path / "step_000005" / "manifest.json").stat().st_mtime_ns == before


def test_saving_over_a_damaged_checkpoint_repairs_it(tmp_path, made):
    checkpoints = write(tmp_path, made, 4, 5)
    truncate(tmp_path / "step_000005")
    checkpoints.save(Progress(5), *made, RANKS)
    assert checkpoints.latest() == tmp_path / "step_000005"


def test_what_a_killed_save_left_is_no_checkpoint(tmp_path, made):
    checkpoints = write(tmp_path, made, 5)
    shutil.copytree(tmp_path / "step_000005", tmp_path / ".new-123-0a1b2c3d.step_000006")
    assert checkpoints.latest() == tmp_path / "step_000005"


def test_weights_alone(tmp_path, made):
    path = write(tmp_path, made, 5).latest()
    other = policies(seed=50)
    load_weights(path, {"planner": other["planner"]}, alone("planner"))
    expected = made[0]["planner"].trainable()
    assert all(torch.equal(weight, expected[name]) for name, weight in other["planner"].trainable().items())
    untouched = policies(seed=50)["fixed"].trainable()
    assert all(torch.equal(weight, untouched[name]) for name, weight in other["fixed"].trainable().items())


def test_copied_weights_are_copies():
    one, other = tiny_policy(0), tiny_policy(1)
    copy_weights(one.trainable(), other)
    with torch.no_grad():
        one.trainable()["model.norm.weight"].add_(1.0)
    assert not torch.equal(one.trainable()["model.norm.weight"], other.trainable()["model.norm.weight"])
    assert not any(parameter.grad_fn for parameter in other.trainable().values())
