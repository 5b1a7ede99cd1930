"""What ranks tell each other, with real processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import on_ranks, start_ranks
from support import alone, scored, tiny_policy, turn, updated

from maporl_cli.core.config import Config, TrainConfig
from maporl_cli.core.errors import Interrupted
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Group
from maporl_cli.training.advantage import estimators
from maporl_cli.training.credit.team import team_credit
from maporl_cli.training.critic import Critic
from maporl_cli.training.experience import Experience, Gathered, gather
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import Ranks
from maporl_cli.training.stop import StopRequest
from maporl_cli.training.update import Learner, update_all
from maporl_cli.worker.job import join, open_store

TEAM = ("planner", "researcher", "analyst", "reporter")


def job(timeout: float = 20.0) -> Ranks:
    return join(Config.model_validate({"placement": {"timeout": timeout}}), open_store())


def out_of_memory_in_a_sum() -> str:
    ranks = job()

    def too_much(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    dist.all_reduce = too_much
    try:
        ranks.any(True, "x")
    except RuntimeError as error:
        return type(error).__name__
    return ""


def test_a_rank_without_memory_does_not_blame_the_others():
    assert on_ranks(2, out_of_memory_in_a_sum) == ["OutOfMemoryError"] * 2


def exchange_of_every_kind() -> dict[str, Any]:
    ranks = job()
    mine = ranks.placement.ranks[ranks.rank]
    tensor = torch.full((3,), 10.0 ** (mine.replica or 0))
    ranks.sum_over_replicas(mine.agents[0], tensor)

    def made(agent: str) -> dict[str, bytes]:
        return {"f": agent.encode() * 3, "rank": bytes([ranks.rank])}

    def read(agent: str) -> dict[str, bytes]:
        return {"f": agent.encode(), "empty": b""}

    return {
        "gather": ranks.gather(ranks.rank, "x"),
        "broadcast": ranks.broadcast({"from": ranks.rank}, "x"),
        "any": [ranks.any(ranks.rank == who, "x") for who in (0, 5, 99)],
        "replica": ranks.gather_in_replica(ranks.rank, "x"),
        "sum": tensor.tolist(),
        "over": {agent: ranks.hand_over(agent, made) for agent in TEAM},
        "out": {agent: ranks.hand_out(agent, read) for agent in TEAM},
    }


def test_eight_ranks_tell_each_other():
    for rank, told in enumerate(on_ranks(8, exchange_of_every_kind)):
        agent = TEAM[rank % 4]
        assert told["gather"] == (list(range(8)) if rank == 0 else [])
        assert told["broadcast"] == {"from": 0}
        assert told["any"] == [True, True, False]
        assert told["replica"] == list(range(rank // 4 * 4, rank // 4 * 4 + 4))
        assert told["sum"] == [11.0] * 3
        # Of each agent, what its rank in the first replica made.
        expected = {name: {"f": name.encode() * 3, "rank": bytes([seat])} for seat, name in enumerate(TEAM)}
        assert told["over"] == (expected if rank == 0 else {name: {} for name in TEAM})
        assert told["out"] == {
            name: {"f": name.encode(), "empty": b""} if name == agent else {} for name in TEAM
        }


TURNS = [
    (turn("solo", tokens=tokens), value) for tokens, value in ((2, 1.0), (5, -0.5), (1, 0.25), (3, -1.0))
]


def learn(ranks: Ranks, share: list[int], algorithm: str) -> tuple[dict[str, float], list[torch.Tensor]]:
    """One update from a share of the turns, with the value of each as its return or as its advantage.

    Returns:
        the metrics, and the weights of the policy and of its value head.
    """
    config = TrainConfig.model_validate(
        {"max_grad_norm": 1e9, "lr_scheduler_type": "constant", "update_epochs": 2 if algorithm else 1}
    )
    policy = tiny_policy()
    critic = Critic(policy, shared=0.0) if algorithm else None
    mine = Learner(
        "solo",
        policy,
        config,
        total_steps=9,
        temperature=1.0,
        learning_rate=0.01,
        ranks=ranks,
        critic=critic,
    )
    held = [TURNS[index] for index in share]
    if algorithm:
        group = [scored([said], value) for said, value in held]
        gathered = gather([Group(group)], [mine], team_credit, estimators()[algorithm], config)
        experiences = gathered.by_agent["solo"]
    else:
        experiences = [Experience(said, [value] * len(said.token_ids)) for said, value in held]
    metrics = updated(mine, experiences)
    weights = [*policy.trainable().values(), *(critic.head.parameters() if critic else ())]
    return metrics, [parameter.detach() for parameter in weights]


def update(shares: list[list[int]], algorithm: str = "") -> tuple[dict[str, float], list[torch.Tensor]]:
    ranks = job().placed(place(["solo"], len(shares)))
    return learn(ranks, shares[ranks.rank], algorithm)


@pytest.mark.parametrize("algorithm", ["", "maporl_ppo"])
def test_replicas_learn_what_one_would_from_all_experiences(algorithm):
    """Whoever has how many of them: the loss is divided by the active tokens of all."""
    expected, whole = learn(alone("solo"), [0, 1, 2, 3], algorithm)
    for shares in ([[0, 1], [2, 3]], [[3, 0, 2], [1]], [[], [0, 1, 2, 3]]):
        (first, weights), (second, others) = on_ranks(2, update, shares, algorithm)
        for one, other in zip(weights, others, strict=True):
            assert torch.equal(one, other), "replicas stay the same to the bit"
        assert first == second
        for name, value in expected.items():
            assert abs(first[name] - value) <= 1e-5 * max(1.0, abs(value)), name
        for one, parameter in zip(weights, whole, strict=True):
            torch.testing.assert_close(one, parameter, rtol=0, atol=2e-4)


def test_where_no_replica_has_any_nothing_is_learned():
    start = [parameter.detach() for parameter in tiny_policy().trainable().values()]
    for metrics, weights in on_ranks(2, update, [[], []]):
        assert metrics == {"solo:tokens": 0.0}
        assert all(torch.equal(one, other) for one, other in zip(weights, start, strict=True))


def update_while_one_is_asked_to_stop(asked: int) -> tuple[str, bool, int]:
    """An agent a rank; one is asked in its second pass.

    Returns:
        how the update ended, whether a weight changed, and the passes it took.
    """
    ranks = job().placed(place(["planner", "reporter"], 2))
    agent, stop, policy = ("planner", "reporter")[ranks.rank], StopRequest(), tiny_policy()
    settings = TrainConfig.model_validate({"per_device_train_batch_size": 1})
    options = {"total_steps": 9, "temperature": 1.0, "learning_rate": 0.01, "ranks": ranks}
    mine = Learner(agent, policy, settings, **options)
    start = [parameter.detach().clone() for parameter in policy.trainable().values()]
    score, passes = policy.score, 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal passes
        passes += 1
        stop.requested = passes == 2 and ranks.rank == asked
        return score(*args, **kwargs)

    policy.score = counted
    batch = [Experience(turn(agent), [1.0, 1.0]) for _ in range(4)]
    ended = "done"
    try:
        update_all([mine], Gathered({agent: batch}, 0, 0), 3, ranks, Timeline(), stop)
    except Interrupted:
        ended = "given up"
    pairs = zip(start, policy.trainable().values(), strict=True)
    return ended, any(not torch.equal(before, after) for before, after in pairs), passes


def test_all_ranks_give_a_step_up_or_none_does():
    assert on_ranks(2, update_while_one_is_asked_to_stop, 9) == [("done", True, 4)] * 2
    given_up = [("given up", False, 4), ("given up", False, 2)]
    assert on_ranks(2, update_while_one_is_asked_to_stop, 1) == given_up


@contextmanager
def store_for_others() -> Generator[None]:
    """Rank 0 has the store: as in the worker, ranks that lost contact do not end at once."""
    try:
        yield
    finally:
        time.sleep(5)


def die_in_step(victim: int) -> None:
    ranks = job()
    ranks.broadcast(0, "the first exchange")
    if ranks.rank == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    with store_for_others():
        ranks.any(False, "the rollout of step 3")


def test_a_dead_rank_is_noticed_by_those_who_wait_for_it():
    told = start_ranks(4, die_in_step, 2).outcomes()
    assert told[2] == (None, "died")
    for rank in (0, 1, 3):
        _, error = told[rank]
        assert "LostContact: It waited in vain for rank 2: the rollout of step 3." in error


def mute_in_step(silent: int) -> None:
    ranks = job(timeout=4.0)
    if ranks.rank == silent:
        signal.pause()
    time.sleep(0.5 * ranks.rank)  # they come one after the other, and give up so
    with store_for_others():
        ranks.broadcast(ranks.gather(1, "the topology"), "the topology")


def test_a_rank_that_hangs_is_given_up_within_the_timeout():
    told = [error for _, error in start_ranks(4, mute_in_step, 2).outcomes(timeout=25, silent=2)]
    assert told.pop(2) == "nothing within 0.0 s"
    for error in told:
        assert "LostContact: It waited in vain for rank 2: the topology." in error
