"""One optimizer step of one agent: against other trainers on the same work, and against what it must cost.

    python benchmarks/trainers.py --model DIR --data FILE --peers DIR --peer-python PYTHON --prompts 8

runs, `--times` times one after the other, `benchmarks/step.py`, TRL's GRPO (gradient checkpointing off) and
CoMLRL's MAGRPO with two agents: the same model, prompts, group and forced lengths, one thread on one core,
the same settings of the C library's allocator. CPU seconds a step are compared within each round; CoMLRL's
are halved, for one agent. `--peers` is the directory of the peers' scripts, `trl_grpo_step.py` and
`comlrl_magrpo_step.py`, which take the options and print the keys of `step.py`.

The floor: matrix products of the model at each token, those that are shared once, in sampling and three times
in the update (forward, and two backward), and of the layer that predicts words at the completions' tokens,
over the rate of a large matrix product measured by each of our runs. Attention and all else count as nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from clinic_learning import machine
from gpu_estimate import Shape
from transformers import AutoConfig

ALLOCATOR = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_TOP_PAD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}
"""Large pages, and no memory given back between steps: helps every trainer."""

Told = dict[str, Any]


def main() -> None:
    asked = arguments()
    work = ["--model", str(asked.model), "--prompts", str(asked.prompts), "--group", str(asked.group)]
    work += ["--max-new", str(asked.max_new), "--steps", str(asked.steps), "--data", str(asked.data)]
    work += ["--min-tok", str(asked.min_tok), "--max-tok", str(asked.max_tok)]
    ours = [sys.executable, str(Path(__file__).with_name("step.py")), *work, "--json"]
    peers = {
        "trl": ["trl_grpo_step.py", *work, "--gc", "0"],
        "comlrl": ["comlrl_magrpo_step.py", *work, "--agents", "2"],
    }
    rounds: list[dict[str, Told]] = []
    for _ in range(asked.times):
        found = {"maporl": run(ours)}
        for name in asked.against:
            script, *options = peers[name]
            found[name] = run([str(asked.peer_python), str(asked.peers / script), *options])
            same_work(found["maporl"], found[name])
        rounds.append(found)
        print(json.dumps({name: told["cpu_s_per_step"] for name, told in found.items()}), flush=True)
    result = {
        "command": f"python benchmarks/trainers.py --model {asked.model.name} --prompts {asked.prompts} "
        f"--group {asked.group} --max-new {asked.max_new} --steps {asked.steps} --times {asked.times} "
        f"--against {' '.join(asked.against)}",
        "machine": machine(),
        "faster": {name: spread([faster(found, name) for found in rounds]) for name in asked.against},
        "memory": {
            name: spread([found["maporl"]["peak_rss_mb"] / found[name]["peak_rss_mb"] for found in rounds])
            for name in asked.against
        },
        "of_the_floor": spread([of_the_floor(asked.model, found["maporl"]) for found in rounds]),
        "rounds": rounds,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}, indent=1))
    out = asked.out or Path(__file__).parent / "results" / f"trainers_{asked.model.name}.json"
    out.write_text(json.dumps(result, indent=1) + "\n")


def run(command: list[str]) -> Told:
    """What a script tells in its line of JSON, run on one core in one thread."""
    core = str(min(os.sched_getaffinity(0)))
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["taskset", "-c", core, *command], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"')))


def same_work(ours: Told, theirs: Told) -> None:
    """Refuses to compare unlike work; a peer with several agents tells the tokens of all."""
    theirs = theirs | {"gen_tok_per_step": theirs["gen_tok_per_step"] / theirs.get("agents", 1)}
    for key in ("model", "prompts", "group", "max_new", "steps", "prompt_tok_mean", "gen_tok_per_step"):
        if ours[key] != theirs[key]:
            raise SystemExit(f"not the same work: {key} is {ours[key]} here and {theirs[key]} there")


def faster(found: dict[str, Told], name: str) -> float:
    """How many times less CPU an agent's step takes than a peer's."""
    peer = found[name]
    return peer["cpu_s_per_step"] / peer.get("agents", 1) / found["maporl"]["cpu_s_per_step"]


def of_the_floor(model: Path, told: Told) -> float:
    """The share of a step's CPU seconds that its matrix products must take."""
    shape = shape_of(model)
    rows = told["prompts"] * told["group"]
    # A completion's last token is never read.
    tokens = told["prompts"] * told["prompt_tok_mean"] + rows * (told["max_new"] - 1)
    products = shape.body * tokens + shape.head * rows * told["max_new"]
    passes = 1 + 3
    return 2 * passes * products / (told["gemm_gflops_now"] * 1e9) / told["cpu_s_per_step"]


def shape_of(model: Path) -> Shape:
    config: Any = AutoConfig.from_pretrained(model)
    heads = config.num_attention_heads
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=heads,
        kept=config.num_key_value_heads,
        width=getattr(config, "head_dim", None) or config.hidden_size // heads,
        words=config.vocab_size,
    )


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": round(median(values), 4), "least": round(min(values), 4), "most": round(max(values), 4)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with a `question` each")
    parser.add_argument("--peers", type=Path, required=True, help="directory of the peers' scripts")
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--against", nargs="+", default=["trl", "comlrl"], choices=["trl", "comlrl"])
    for name, default in {"prompts": 8, "group": 4, "max-new": 32, "steps": 3, "times": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"min-tok": 160, "max-tok": 240}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
