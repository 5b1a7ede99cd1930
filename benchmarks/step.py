"""One optimizer step of one agent: sampling, reward, loss, gradient, update, by the trainer's own code.

    python benchmarks/step.py --model DIR --prompts 8 --group 4 --max-new 32 --steps 3 --json
        [--data FILE --min-tok 160 --max-tok 240]

Every completion has exactly --max-new tokens, so that the work is the same to the token as that of another
trainer on the same prompts: questions of the file as a user's message, those with so many tokens. The policy
samples and scores as in `maporl train`, the update is `training.update.Learner`; the reward is a few letters'
count. One thread; CPU seconds, since other work on the machine does not lengthen them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformers import AutoTokenizer

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.models import load_model
from maporl_cli.core.config import TrainConfig
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Turn
from maporl_cli.training.experience import Experience
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank
from maporl_cli.training.update import Learner

AGENT = "speaker"
NO_STOPS = frozenset[int]()
"""No token ends a turn: lengths are forced."""


class Split:
    """CPU seconds by part of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - began


def main() -> None:
    asked = arguments()
    torch.set_num_threads(1)
    # The prompts are texts of their own, so the tokenizer needs no chat template.
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    policy = CausalPolicy(load_model(asked.model, torch.float32), tokenizer, NO_STOPS)
    warm = asked.warmup
    prompts = read_prompts(asked, policy, asked.prompts * (asked.steps + warm))
    rows = asked.prompts * asked.group
    train = TrainConfig(
        batch_size=asked.prompts,
        per_device_train_batch_size=asked.micro or rows,
        learning_rate=asked.lr,
        warmup_steps=0,
        kl_coeff=0.0,
        entropy_coeff=0.0,
    )
    learner = Learner(
        AGENT,
        policy,
        train,
        total_steps=10**6,
        temperature=1.0,
        learning_rate=asked.lr,
        ranks=OneRank(place([AGENT], 1)),
    )
    walls: list[float] = []
    cpus: list[float] = []
    split = Split()
    for step in range(asked.steps + warm):
        if step == warm:
            split = Split()
        wall, cpu = time.perf_counter(), time.process_time()
        own = prompts[step * asked.prompts : (step + 1) * asked.prompts]
        one_step(learner, policy, own, asked, step, split)
        if step >= warm:
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    generated = rows * asked.max_new
    told = {
        "impl": "maporl",
        "model": asked.model.name,
        "prompts": asked.prompts,
        "group": asked.group,
        "max_new": asked.max_new,
        "steps": asked.steps,
        "wall_s_per_step": round(fmean(walls), 3),
        "cpu_s_per_step": round(fmean(cpus), 3),
        "cpu_times": [round(seconds, 3) for seconds in cpus],
        "prompt_tok_mean": round(fmean(map(len, prompts[warm * asked.prompts :])), 1),
        "gen_tok_per_step": generated,
        "gen_tok_s_wall": round(generated / fmean(walls), 1),
        "gen_tok_s_cpu": round(generated / fmean(cpus), 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "gemm_gflops_now": round(gemm_rate()),
        "split_cpu": {name: round(seconds / asked.steps, 3) for name, seconds in split.seconds.items()},
    }
    print(json.dumps(told) if asked.json else json.dumps(told, indent=1), flush=True)


def one_step(
    learner: Learner,
    policy: CausalPolicy,
    prompts: Sequence[tuple[int, ...]],
    asked: argparse.Namespace,
    step: int,
    split: Split,
) -> None:
    rows = [prompt for prompt in prompts for _ in range(asked.group)]
    draws = [keyed_generator("step", asked.seed, step, row) for row in range(len(rows))]
    with split.part("generate"):
        samples = policy.sample(rows, draws, max_new_tokens=asked.max_new, temperature=1.0)
    with split.part("reward"):
        turns = [
            Turn(
                agent=AGENT,
                round=0,
                prompt_ids=prompt,
                token_ids=sample.token_ids,
                logprobs=sample.logprobs,
                text=policy.decode(sample.token_ids),
                finished=True,
                policy_version=policy.version,
            )
            for prompt, sample in zip(rows, samples, strict=True)
        ]
        assert all(len(turn.token_ids) == asked.max_new for turn in turns)
        experiences = [
            Experience(turn, [advantage] * asked.max_new)
            for start in range(0, len(turns), asked.group)
            for turn, advantage in compared(turns[start : start + asked.group])
        ]
    with split.part("forward_backward"):
        begun = learner.begin(experiences, lambda: False)
    with split.part("optimizer"):
        learner.finish(begun)


def compared(group: Sequence[Turn]) -> list[tuple[Turn, float]]:
    rewards = [
        (turn.text.count("a") + 2 * turn.text.count("e")) % 5 / 4 + len(turn.text) % 7 / 70 for turn in group
    ]
    spread = stdev(rewards) + 1e-4 if len(rewards) > 1 else 1.0
    middle = fmean(rewards)
    return [(turn, (reward - middle) / spread) for turn, reward in zip(group, rewards, strict=True)]


def read_prompts(asked: argparse.Namespace, policy: CausalPolicy, count: int) -> list[tuple[int, ...]]:
    """The first questions of the file that have so many tokens as a prompt; over again where they are few."""
    found: list[tuple[int, ...]] = []
    with asked.data.open(encoding="utf-8") as lines:
        for line in lines:
            text = f"<|im_start|>user\n{json.loads(line)['question']}<|im_end|>\n<|im_start|>assistant\n"
            ids = tuple(policy.tokenizer(text, add_special_tokens=False)["input_ids"])
            if asked.min_tok <= len(ids) <= asked.max_tok:
                found.append(ids)
            if len(found) == count:
                return found
    if not found:
        raise SystemExit(f"{asked.data} has no question of {asked.min_tok} to {asked.max_tok} tokens")
    return [found[index % len(found)] for index in range(count)]


def gemm_rate(size: int = 768, times: int = 12) -> float:
    """GFLOP a second of this thread's matrix products, now."""
    left, right, out = torch.ones(size, size), torch.ones(size, size), torch.empty(size, size)
    torch.mm(left, right, out=out)
    began = time.process_time()
    for _ in range(times):
        torch.mm(left, right, out=out)
    return times * 2 * size**3 / (time.process_time() - began) / 1e9


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="JSON lines with a `question` each")
    for name, default in {"prompts": 8, "group": 4, "max-new": 32, "steps": 3, "warmup": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"min-tok": 160, "max-tok": 240, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--micro", type=int, default=0, help="rows a pass of the update; 0: all")
    parser.add_argument("--lr", type=float, default=1e-6)
    parser.add_argument("--json", action="store_true", help="one line")
    return parser.parse_args()


if __name__ == "__main__":
    main()
