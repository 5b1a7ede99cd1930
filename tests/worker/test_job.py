"""Joining a job: what ranks must agree on, and what they are told where they cannot meet."""

from __future__ import annotations

import json
import os
import socket
from threading import Event

import pytest
import torch
from ranks import on_ranks

from maporl_cli.core.config import Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.run_dir import RunDir
from maporl_cli.training.placement import place
from maporl_cli.worker import job
from maporl_cli.worker.job import (
    First,
    describe,
    join,
    launches_of,
    open_store,
    refuse_unlike,
    this_launch,
    waiting_hint,
)


def config(**values: object) -> Config:
    return Config.model_validate({"train": {"batch_size": 16, "per_device_train_batch_size": 16}, **values})


def compared(differing: str) -> str:
    settings = config()
    ranks = join(settings, open_store())
    sources = {"a.jsonl": "00ff"}
    if ranks.rank == 2 and differing == "config":
        settings = config(run={"seed": 7})
    if ranks.rank == 2 and differing == "data":
        sources = {"a.jsonl": "ff00"}
    if ranks.rank == 2 and differing == "version":
        job.package_versions = lambda: {"torch": "0.1"}
    try:
        refuse_unlike(ranks, settings, sources)
    except ConfigError as error:
        return error.why
    return ""


@pytest.mark.parametrize(
    ("differing", "told"),
    [
        ("nothing", ""),
        ("config", "config: run.seed is 0 on rank 0 and 7 on rank 2"),
        ("data", "data: a.jsonl is '00ff' on rank 0 and 'ff00' on rank 2"),
        ("version", "on rank 0 and None on rank 2"),
    ],
)
def test_ranks_that_differ_are_refused_on_every_rank_by_the_first_difference(differing, told):
    found = on_ranks(4, compared, differing)
    assert len(set(found)) == 1
    assert found[0].endswith(told) if told else found[0] == ""


def joined(team: list[str]) -> str:
    usual = [seat.name for seat in config().team.agents]
    mine = team if int(os.environ["RANK"]) == 2 else usual
    settings = config(team={"agents": [{"name": name} for name in mine]}, placement={"timeout": 20})
    try:
        join(settings, open_store())
    except ConfigError as error:
        return error.why
    return ""


@pytest.mark.parametrize("team", [["planner", "reporter"], ["planner", "critic", "reporter"]])
def test_ranks_with_other_teams_are_told_before_they_wait_for_each_other(team):
    """Two agents would fit four ranks as well, in other groups of them; three would not."""
    (why,) = set(on_ranks(4, joined, team))
    assert why == f"config: team.agents.1.name is 'researcher' on rank 0 and {team[1]!r} on rank 2"


def told_of_topology() -> dict:
    return describe(join(config(), open_store()))


def test_the_topology_tells_of_every_rank():
    first, *others = on_ranks(4, told_of_topology, nodes=2)
    assert (first["world_size"], first["hosts"], first["replicas"]) == (4, 2, 1)
    assert [rank["agents"] for rank in first["ranks"]] == [
        ["planner"],
        ["researcher"],
        ["analyst"],
        ["reporter"],
    ]
    assert all(rank["threads"] == 1 for rank in first["ranks"])
    assert all(other["ranks"] == [] for other in others), "rank 0 writes it"


@pytest.fixture
def torchrun(monkeypatch):
    def started(**values: object) -> None:
        given = {
            "RANK": 0,
            "WORLD_SIZE": 2,
            "LOCAL_RANK": 0,
            "LOCAL_WORLD_SIZE": 2,
            "MASTER_ADDR": "127.0.0.1",
        }
        for name, value in (given | values).items():
            monkeypatch.setenv(name, str(value))

    return started


def test_outside_of_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = join(config(), open_store())
    assert (ranks.rank, ranks.placement.world_size) == (0, 1)


def test_a_port_in_use_is_told(torchrun):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        torchrun(MASTER_PORT=port)
        with pytest.raises(MissingError) as told:
            open_store()
    assert str(port) in told.value.where
    assert "--master-port" in told.value.fix


def test_restarts_that_would_hang_are_refused(torchrun, monkeypatch):
    monkeypatch.delenv("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", raising=False)
    torchrun(MASTER_PORT=1, TORCHELASTIC_MAX_RESTARTS=2)
    with pytest.raises(ConfigError, match="restarts would not find each other") as told:
        open_store()
    assert told.value.fix == "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun …"


def test_a_rank_without_a_gpu_is_told_where_others_have_one(torchrun, monkeypatch):
    torchrun(RANK=1, LOCAL_RANK=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MissingError, match="no GPU for rank 1") as told:
        join(config(), store=object())  # type: ignore[arg-type]
    assert "2 ranks on this host, 1 GPUs" in told.value.why


def test_ranks_that_would_wait_are_told_how_not_to():
    agents = [seat.name for seat in config().team.agents]
    assert waiting_hint(config(), place(agents, 1)) == ""
    naive = waiting_hint(config(), place(agents, 4))
    assert "rollout.microbatches=1" in naive
    assert "75%" in naive
    assert naive.endswith("with 16, 16%")
    assert waiting_hint(config(rollout={"microbatches": 16}), place(agents, 4)) == ""
    assert waiting_hint(config(rollout={"sampling": "comb"}), place(agents, 4)) == "", "nobody knows"


@pytest.mark.parametrize(("local", "tells"), [(0, True), (1, False)])
def test_where_ranks_never_met_one_of_each_host_tells(torchrun, local, tells):
    torchrun(RANK=4 + local, LOCAL_RANK=local)
    assert First(None, 4 + local).claim() is tells


class Mute:
    """The store of a host that was lost: nobody is there to refuse the question, or to answer it."""

    def compare_set(self, *_: str) -> bytes:
        Event().wait()
        return b""


def test_a_rank_whose_store_answers_nothing_tells_of_its_failure_itself(monkeypatch):
    monkeypatch.setattr(job, "_ANSWERS_WITHIN", 0.05)
    assert First(Mute(), 3).claim()  # type: ignore[arg-type]


def test_a_launch_keeps_its_name_when_its_ranks_are_started_again_and_no_other_has_it(tmp_path, monkeypatch):
    def named(launch: str, attempt: int) -> str:
        file = tmp_path / launch / f"attempt_{attempt}" / "0" / "error.json"
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # what every torchrun without --rdzv-id says
        return this_launch()

    assert named("none_k2x", 0) == named("none_k2x", 1) != named("none_p7a", 1)
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")
    assert this_launch() == ""


def test_a_run_knows_the_launches_that_began_it_and_went_on_with_it(tmp_path):
    run = RunDir(tmp_path)
    assert launches_of(run) == []
    resumed = [{"topology": {"launches": ["second"]}}]
    run.manifest.write_text(json.dumps({"topology": {"launches": ["first"]}, "resumed": resumed}))
    assert launches_of(run) == ["first", "second"]
