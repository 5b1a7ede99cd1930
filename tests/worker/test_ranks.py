"""One run on 1, 2, 4 and 8 ranks: placement changes no episode, no weight and no result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from ranks import on_ranks
from safetensors.torch import load_file
from small_runs import PAYING_FOR_IDS, small

from maporl_cli.core.atomic import discard
from maporl_cli.core.config import Config
from maporl_cli.training import optimizer
from maporl_cli.training.ranks import Ranks
from maporl_cli.worker import train
from maporl_cli.worker.job import join, open_store

TEAM = ("planner", "researcher", "analyst", "reporter")
SETS = [
    "train.max_steps=5",
    "train.per_device_train_batch_size=4",
    "train.kl_coeff=0.01",
    "train.eval_every=2",
    "rollout.microbatches=3",
    "team.max_rounds_per_episode=2",
    "eval.batch_size=5",
]


def config(folder: Path, name: str, *sets: str) -> Config:
    plugin = folder / "ids.py"
    plugin.write_text(PAYING_FOR_IDS)
    pay = [f"run.plugins=[{plugin}]", "reward.extra_weights={ids: 1}"]
    return small(folder, *SETS, *pay, "eval.baselines=[reporter_alone]", *sets, name=name)


def train_here(settings: Config) -> dict[str, dict[str, torch.Tensor]]:
    """Train as one rank of a job; the gradients of the last update, by agent and parameter."""
    gradients: dict[str, dict[str, torch.Tensor]] = {}
    sum_up = optimizer.sum_gradients

    def remember(parameters: Sequence[torch.nn.Parameter], agent: str, ranks: Ranks) -> None:
        sum_up(parameters, agent, ranks)
        gradients[agent] = {
            f"parameter {number}": parameter.grad.clone()
            for number, parameter in enumerate(parameters)
            if parameter.grad is not None
        }

    optimizer.sum_gradients = remember
    try:
        ranks = join(settings, open_store())
        train(settings, resume=False, overwrite=False, command="test", display="none", ranks=ranks)
    finally:
        optimizer.sum_gradients = sum_up
    return gradients


def go_on_here(settings: Config) -> None:
    ranks = join(settings, open_store())
    train(settings, resume=True, overwrite=False, command="test", display="none", ranks=ranks)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}: {name}": tensor
        for file in run.glob("final_model/*/model.safetensors")
        for name, tensor in load_file(file).items()
    }


def played(run: Path) -> list[list[list[int]]]:
    episodes = [json.loads(line) for file in sorted(run.glob("episodes/*")) for line in file.open()]
    assert len(episodes) == 5 * 16
    return [[turn["token_ids"] for turn in episode["turns"]] for episode in episodes]


def measured(run: Path) -> list[tuple]:
    keys = ("accuracy", "sampled", "n", "invalid", "tokens_per_question")
    found = [json.loads((run / "eval" / f"{when}.json").read_text()) for when in ("before", "after")]
    return [tuple(values[key] for key in keys) for values in found]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    train_here(config(folder, "run"))
    return folder / "run"


@pytest.mark.parametrize("count", [2, 4])
def test_more_ranks_change_nothing(one, tmp_path, count):
    on_ranks(count, train_here, config(tmp_path, "run"))
    run = tmp_path / "run"
    assert played(run) == played(one)
    expected, found = weights(one), weights(run)
    assert found.keys() == expected.keys()
    assert {name.partition(":")[0] for name in found} == set(TEAM)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-5)
    assert measured(run) == measured(one)
    records = [file.relative_to(one) for file in sorted(one.glob("eval/*.jsonl"))]
    assert records
    for file in records:
        assert (run / file).read_text() == (one / file).read_text()
    told = json.loads((run / "manifest.json").read_text())["topology"]
    assert (told["world_size"], told["replicas"]) == (count, 1)
    shared = {1: [[*TEAM]], 2: [["planner", "reporter"], ["researcher", "analyst"]]}
    assert [rank["agents"] for rank in told["ranks"]] == shared.get(count, [[agent] for agent in TEAM])
    assert sorted(file.name for file in (run / "logs").iterdir()) == [f"rank_{r}.log" for r in range(count)]
    ours = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    theirs = [json.loads(line) for line in (one / "metrics.jsonl").open()]
    timing = {"time", "train:seconds", "train:idle"}
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() - timing == other.keys() - timing
        assert {k: v for k, v in mine.items() if k not in timing} == pytest.approx(
            {k: v for k, v in other.items() if k not in timing}
        )
    assert any(row.get("planner:grad_norm", 0) > 0 for row in ours)


def test_the_gradient_of_two_replicas_is_that_of_the_whole_batch(tmp_path):
    once = ["train.max_steps=1", "train.cold_start.role_steps=40", "train.cold_start.batch_size=6"]
    expected = train_here(config(tmp_path, "one", *once, "eval.baselines=[]"))
    found = on_ranks(8, train_here, config(tmp_path, "eight", *once, "eval.baselines=[]"))
    assert set(expected) == set(TEAM)
    for rank, gradients in enumerate(found):
        ((agent, shared),) = gradients.items()
        assert agent == TEAM[rank % 4]
        assert shared.keys() == expected[agent].keys()
        for name, whole in expected[agent].items():
            assert torch.linalg.norm(shared[name] - whole) <= 1e-5 * torch.linalg.norm(whole), name
        assert any(tensor.abs().max() > 1e-3 for tensor in shared.values())
    told = json.loads((tmp_path / "eight" / "manifest.json").read_text())["topology"]
    assert (told["world_size"], told["replicas"]) == (8, 2)


def test_a_run_goes_on_with_any_other_number_of_ranks(tmp_path):
    """One rank learned from 16 turns at a time, which two replicas of 8 episodes do not have."""
    sets = ["train.max_steps=3", "train.save_every=1", "train.keep_checkpoints=9", "eval.baselines=[]"]
    at_a_time = "train.per_device_train_batch_size={}".format
    run = tmp_path / "run"
    train_here(config(tmp_path, "run", *sets, at_a_time(16)))
    learned = weights(run)
    second = (run / "episodes" / "step_000002.jsonl").read_text()

    discard(run / "final_model")  # as if killed before it was written
    on_ranks(8, go_on_here, config(tmp_path, "run", *sets, at_a_time(8)))
    found = weights(run)
    assert found.keys() == learned.keys()
    assert all(torch.equal(found[name], learned[name]) for name in learned)

    discard(run / "final_model")
    for step in (2, 3):
        discard(run / "checkpoints" / f"step_{step:06d}")
    on_ranks(2, go_on_here, config(tmp_path, "run", *sets, at_a_time(4)))
    assert (run / "episodes" / "step_000002.jsonl").read_text() == second
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()] == [0, 1, 2, 3]
    assert weights(run).keys() == learned.keys()


def profiled_by(rank: int, settings: Config) -> None:
    ranks = join(settings, open_store())
    options = {"resume": False, "overwrite": False, "command": "test", "display": "none"}
    train(settings, **options, ranks=ranks, profile=ranks.rank == rank)


@pytest.mark.parametrize(("asked", "shown"), [(0, {0, 1}), (1, None)])
def test_whether_there_is_a_profile_is_for_rank_0_to_say(tmp_path, asked, shown):
    """Each host has a command line of its own; a rank that alone would hand in a profile waited in vain."""
    on_ranks(2, profiled_by, asked, config(tmp_path, "run", "train.max_steps=1", "eval.baselines=[]"))
    assert (tmp_path / "run" / "training_results.json").is_file()
    file = tmp_path / "run" / "profile.json"
    found = {event["pid"] for event in json.loads(file.read_text())["traceEvents"]} if file.exists() else None
    assert found == shown


FEW = [
    "train.max_steps=2",
    "train.batch_size=2",
    "rollout.group_size=3",
    "train.per_device_train_batch_size=3",
    "train.eval_every=0",
    "train.cold_start.role_steps=20",
    "data.max_eval_samples=2",
    "eval.baselines=[]",
]
SHARINGS = {
    "comb": ["rollout.sampling=comb"],
    "leave_one_out": ["train.credit=leave_one_out"],
    "potential": ["train.credit=potential", "train.kl_coeff=0"],
}


@pytest.fixture(scope="module")
def shared_by_one(tmp_path_factory) -> Callable[[str], Path]:
    """The run of one rank with a way to share the reward out."""

    @cache
    def run(sharing: str) -> Path:
        folder = tmp_path_factory.mktemp(sharing)
        train_here(config(folder, "run", *FEW, *SHARINGS[sharing]))
        return folder / "run"

    return run


def shared_out(run: Path) -> tuple[list[tuple], list[float]]:
    """Every episode's draws and reward, and all that was measured for credit."""
    episodes = [json.loads(line) for file in sorted(run.glob("episodes/*")) for line in file.open()]
    shared = [
        (
            (one["step"], one["question"]["id"], one["sample"], one["inherited"], one["answer"]),
            [turn["token_ids"] for turn in one["turns"]],
            one["score"]["total"],
        )
        for one in episodes
    ]
    return shared, [value for one in episodes for values in one["measured"].values() for value in values]


@pytest.mark.parametrize(
    ("sharing", "count"),
    [
        ("comb", 2),
        ("comb", 4),
        ("leave_one_out", 2),
        ("leave_one_out", 4),
        ("leave_one_out", 8),  # two replicas, that hear what was said in each other's episodes
        ("potential", 2),
    ],
)
def test_groups_and_credit_are_the_same_on_more_ranks(shared_by_one, tmp_path, sharing, count):
    one, run = shared_by_one(sharing), tmp_path / "run"
    on_ranks(count, train_here, config(tmp_path, "run", *FEW, *SHARINGS[sharing]))
    (episodes, measured), (found, credited) = shared_out(one), shared_out(run)
    assert found == episodes
    assert credited == pytest.approx(measured)
    theirs, ours = ([json.loads(line) for line in (of / "metrics.jsonl").open()] for of in (one, run))
    for key in ("train:tokens", "credit:tokens", "train:dead_groups", "train:accuracy"):
        assert [row.get(key) for row in ours] == [row.get(key) for row in theirs]
    assert any(row.get("planner:grad_norm", 0) > 0 for row in ours)
    if sharing == "comb":
        assert {episode[0][3] for episode in episodes} >= {0, 1, 2, 3}
    else:
        assert len(set(measured)) > 10
        assert all(row["credit:tokens"] > 0 for row in ours[1:])
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(run)[name], tensor, rtol=0, atol=1e-5)
