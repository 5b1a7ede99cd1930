"""Two hosts of two ranks each: network namespaces with an address of their own and a cable between them.

Slow: `make test-slow`. Skipped where a process may not make network namespaces.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from launched import BIN
from safetensors.torch import load_file
from small_runs import PAYING_FOR_IDS, go, small

from maporl_cli.core.run_dir import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 12


class Host:
    def __init__(self, index: int) -> None:
        self.name = f"maporl-{os.getpid()}-{index}"
        self.link = f"mp{os.getpid() % 100_000}h{index}"
        self.address = f"10.77.0.{index + 1}"

    def start(self, config: Path, out: Path, *words: str) -> subprocess.Popen[str]:
        environment = os.environ | {
            "GLOO_SOCKET_IFNAME": self.link,
            "OMP_NUM_THREADS": "1",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
        }
        rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.0.1:29400", "--rdzv-id", "job"]
        launch = [str(BIN / "torchrun"), "--nnodes", "2", "--nproc-per-node", "2", *rendezvous]
        # A namespace has no host name of its own that torchrun could tell the rendezvous' host by.
        launch += ["--rdzv-conf", f"is_host={int(self.address == '10.77.0.1')}", "--local-addr", self.address]
        launch += ["-m", "maporl_cli.worker", "--config", str(config), *words]
        with out.open("w") as file:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *launch],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def processes(self) -> list[int]:
        told = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout
        return [int(word) for word in told.split()]

    def lose(self) -> None:
        """Pull the cable, then the plug: nobody on the other side is told."""
        ip("-n", self.name, "link", "set", self.link, "down")
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, 9)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    pair = Host(0), Host(1)
    try:
        try:
            for host in pair:
                ip("netns", "add", host.name)
            ip("link", "add", pair[0].link, "type", "veth", "peer", "name", pair[1].link)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"needs the right to make network namespaces: {getattr(error, 'stderr', error)}")
        for host in pair:
            ip("link", "set", host.link, "netns", host.name)
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.link)
            for device in ("lo", host.link):
                ip("-n", host.name, "link", "set", device, "up")
        yield pair
    finally:
        for host in pair:
            for process in host.processes():
                with suppress(ProcessLookupError):
                    os.kill(process, 9)
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True)


def config(folder: Path, name: str) -> Path:
    (folder / "ids.py").write_text(PAYING_FOR_IDS)
    pay = [f"run.plugins=[{folder / 'ids.py'}]", "reward.extra_weights={ids: 1}", "eval.baselines=[]"]
    settings = small(
        folder,
        *pay,
        f"train.max_steps={STEPS}",
        "train.per_device_train_batch_size=4",
        "rollout.microbatches=4",
        "placement.timeout=15",
        name=name,
    )
    file = RunDir(folder / f"config-{name}")
    file.write_config(settings)
    return file.config


def weights(run: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(run)): b"".join(tensor.numpy().tobytes() for tensor in load_file(file).values())
        for file in sorted(run.glob("final_model/*/model.safetensors"))
    }


def until(file: Path, text: str, process: subprocess.Popen[str], said: Path) -> None:
    deadline = time.monotonic() + 240
    while not file.exists() or text not in file.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_two_hosts_train_and_survive_the_loss_of_one(hosts, tmp_path):
    settings = config(tmp_path, "run")
    near, far = (tmp_path / f"host-{index}.out" for index in range(2))

    first = hosts[0].start(settings, near)
    second = hosts[1].start(settings, far)
    until(tmp_path / "run" / "training.log", "step 5/12", first, near)
    hosts[1].lose()
    assert first.wait(timeout=120) == 1
    said = near.read_text()
    assert "waited in vain for" in said, said
    assert said.count("Fix:") == 1, said
    second.wait(timeout=60)
    assert not hosts[0].processes()
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() >= "step_000004"

    ip("-n", hosts[1].name, "link", "set", hosts[1].link, "up")
    first = hosts[0].start(settings, near, "--resume")
    second = hosts[1].start(settings, far, "--resume")
    assert (first.wait(timeout=240), second.wait(timeout=60)) == (0, 0), near.read_text()
    told = json.loads((tmp_path / "run" / "manifest.json").read_text())
    topology = told["resumed"][-1]["topology"]
    assert (topology["world_size"], topology["hosts"]) == (4, 2)

    go(RunDir(config(tmp_path, "one").parent).load_config())
    assert weights(tmp_path / "run") == weights(tmp_path / "one")


def test_ranks_also_end_where_the_host_of_their_store_is_lost(hosts, tmp_path):
    """Nobody answers them any more, not even who is to tell of it. (torchrun waits on, for its own store.)"""
    settings = config(tmp_path, "run")
    near, far = (tmp_path / f"host-{index}.out" for index in range(2))
    first = hosts[0].start(settings, near)
    second = hosts[1].start(settings, far)
    until(tmp_path / "run" / "training.log", "step 5/12", first, near)
    hosts[0].lose()
    until(far, "Fix:", second, far)
    assert "failed. It waited in vain for" in far.read_text()
    deadline = time.monotonic() + 60
    while len(hosts[1].processes()) > 1:
        assert time.monotonic() < deadline, "ranks are left"
        time.sleep(0.1)
