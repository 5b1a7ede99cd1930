"""What steps would take on 4 to 256 ranks, and what breaks first.

    python benchmarks/many_ranks.py FILE_OF_QUESTIONS

trains the preset `smollm2` on the file for a few steps, on one rank of one thread with `--profile`, and
predicts from its rates (`training/forecast.py`) what others would take: where every replica has 16 questions
a step, and where 64 questions are shared out. Then it measures what no replica can share, since it is rank
0's alone: seconds of its store's process for a letter, seconds to unpack an episode that another replica
played, and how many connections the store takes under the usual limit of 1,024 open files.
"""

# torch.distributed does not export all that it documents.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import torch.distributed as dist
from clinic_learning import machine

from maporl_cli.agents.blueprint import blueprints
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.types import Episode, Question, Turn
from maporl_cli.training.forecast import forecast
from maporl_cli.training.memory import FP32
from maporl_cli.training.placement import place
from maporl_cli.training.rates import Rates
from maporl_cli.training.schedule import batches_of

RESULT = Path(__file__).parent / "results" / "many_ranks.json"
SIZES = (4, 16, 64, 256)
EACH, SHARED, MICROBATCHES = 16, 64, 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--letters", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = measured_run(Path(folder), asked)
        rates = Rates.measured(run.profile)
        episode = longest_episode(run)
    found = {
        "command": "python benchmarks/many_ranks.py FILE",
        "machine": machine(),
        "rates": asdict(rates),
        "forecasts": [predicted(rates, ranks, share) for share in ("each", "shared") for ranks in SIZES],
        "store_seconds_a_letter": store_seconds(letter_bytes(episode), asked.letters),
        "letter_bytes": letter_bytes(episode),
        "unpacking_seconds_an_episode": unpacking_seconds(episode),
        "connections_under_1024_files": connections(),
    }
    print(json.dumps(found, indent=1))
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


def measured_run(folder: Path, asked: argparse.Namespace) -> RunDir:
    """Batches of four turns, as the forecasts have them."""
    words = ["train", "--preset", "smollm2", "--nproc", "1", "--name", "run", "--profile"]
    words += ["--output-dir", str(folder), "--display", "plain"]
    for value in (
        f"data.train={asked.file}",
        "data.allow_test_set=true",
        "data.max_eval_samples=1",
        "train.batch_size=4",
        "rollout.microbatches=4",
        f"train.max_steps={asked.steps}",
    ):
        words += ["--set", value]
    maporl = str(Path(sys.executable).with_name("maporl"))
    core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*core, maporl, *words], check=True, env=environment, stdout=subprocess.DEVNULL)
    return RunDir(folder / "run")


def predicted(rates: Rates, ranks: int, share: str) -> dict[str, Any]:
    replicas = ranks // 4
    questions = EACH * replicas if share == "each" else SHARED
    config = load_config(
        preset="smollm2",
        sets=[f"train.batch_size={questions}", f"rollout.microbatches={MICROBATCHES}"],
    ).config
    placement = place(config.team.names, ranks)
    (adapter,) = blueprints(config).values()
    told = forecast(config, placement, rates, FP32 * adapter.learning)
    episodes = questions * config.rollout.group_size
    letters = len(batches_of(config, replicas, MICROBATCHES)) * len(config.team.names) * replicas
    return {
        "ranks": ranks,
        "questions": questions,
        "seconds": told.seconds,
        **asdict(told),
        "episodes_a_second": episodes / told.seconds,
        "letters_a_second": letters / told.rollout,
    }


def longest_episode(run: RunDir) -> dict[str, Any]:
    lines = sorted(run.path.glob("episodes/*.jsonl"))[-1].read_text().splitlines()
    return json.loads(max(lines, key=len))


def letter_bytes(episode: dict[str, Any]) -> int:
    """Four turns like the episode's last."""
    return 4 * len(json.dumps(episode["turns"][-1]))


def unpacking_seconds(record: dict[str, Any]) -> float:
    asked = record["question"]
    question = Question(asked["id"], asked["text"], asked["options"], asked["answer"])
    packed = [
        pickle.dumps(Episode(question, number, 1, [Turn(**turn) for turn in record["turns"]]))
        for number in range(200)
    ]
    began = time.perf_counter()
    for episode in packed:
        pickle.loads(episode)  # what this process has just packed itself
    return (time.perf_counter() - began) / len(packed)


def serve(mine: Connection, files: int | None) -> None:
    """A store, and the seconds that its process has worked whenever it is asked."""
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    mine.send(store.port)
    while mine.recv():
        used = resource.getrusage(resource.RUSAGE_SELF)
        mine.send(used.ru_utime + used.ru_stime)


def server(files: int | None = None) -> tuple[Connection, int]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs, files), daemon=True).start()
    return ours, ours.recv()


def store_seconds(size: int, letters: int) -> float:
    """What `training.exchange` does with a letter: one rank sets it, three wait for it, it is deleted."""
    told, port = server()
    owner = dist.TCPStore("127.0.0.1", port, is_master=False)

    def listen() -> None:
        ear = dist.TCPStore("127.0.0.1", port, is_master=False)
        for number in range(letters):
            ear.get(str(number))

    mates = [Thread(target=listen) for _ in range(3)]
    for mate in mates:
        mate.start()
    told.send(True)
    before = told.recv()
    for number in range(letters):
        owner.set(str(number), "x" * size)
    for mate in mates:
        mate.join()
    for number in range(letters):
        owner.delete_key(str(number))
    told.send(True)
    after = told.recv()
    told.send(False)
    return (after - before) / letters


def connections() -> int:
    """How many clients a store takes whose process may open 1,024 files; 2,000 are tried."""
    told, port = server(1024)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients: list[dist.TCPStore] = []
    try:
        for number in range(2000):
            client = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=10))
            client.set(str(number), "")
            clients.append(client)
    except RuntimeError as error:
        print(str(error).splitlines()[0], file=sys.stderr)
    del told
    return len(clients)


if __name__ == "__main__":
    main()
