"""Training steps of a team of four, timed by part; `team_step.py` runs it in a process of its own.

Everything is built and run as `maporl train` does it: the LangGraph graph, the medical reward (without a
sentence encoder), the learners, the monitor with its files, guards and checkpoints. What is not a run's own:

- No token ends a turn and every turn counts as finished, so that the work is the same to the token as another
  trainer's.
- A component that differs within every group is paid beside the medical ones, so that no group is dead and
  every turn is learned from.
- Prompts are framed as the peers frame theirs.
- Teammates do not hear the bytes of a turn that are no text. A model that has learned nothing says many, and
  each would come back as three tokens; what a trained model says is heard as about as many tokens as it was.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from step import NO_STOPS, Split, gemm_rate
from transformers import AutoTokenizer

from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.models import load_model
from maporl_cli.agents.policy import Sample, Scored, register_policy
from maporl_cli.agents.roles import register_role, role_book
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.run_dir import RunDir
from maporl_cli.core.timeline import Timeline
from maporl_cli.core.types import Episode, Question
from maporl_cli.data.reading import QuestionReader
from maporl_cli.monitoring.console import ConsoleSink
from maporl_cli.monitoring.episodes import EpisodeFiles
from maporl_cli.monitoring.jsonl import JsonlSink
from maporl_cli.monitoring.log_file import LogFile, LogSink
from maporl_cli.monitoring.monitor import Monitor
from maporl_cli.rewards.component import Measure, register_component
from maporl_cli.training.checkpoint import Checkpoints, Progress
from maporl_cli.training.guards import Guards
from maporl_cli.training.optimizer import Optimizer
from maporl_cli.training.placement import place
from maporl_cli.training.ranks import OneRank
from maporl_cli.training.trainer import Trainer
from maporl_cli.worker.narrator import Narrator
from maporl_cli.worker.rules import open_rules
from maporl_cli.worker.session import Session, open_learners, open_session

P = ParamSpec("P")
R = TypeVar("R")

BEGIN, END = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
"""What the peers put around a prompt."""
ARITHMETIC = ("sampling", "scoring", "backward", "optimizer")
"""What a model's numbers take; all else is the team's, or the run's."""


class ForcedPolicy(CausalPolicy):
    """Every turn has as many tokens as it may have.

    Args:
        directory: of the model.
        split: told how long sampling and scoring take.
    """

    def __init__(self, directory: Path, split: Split) -> None:
        tokenizer = AutoTokenizer.from_pretrained(directory)
        # As an expression: a template's own last newline is dropped.
        tokenizer.chat_template = f"{{{{ {BEGIN!r} + messages[0]['content'] + {END!r} }}}}"
        super().__init__(load_model(directory, torch.float32), tokenizer, NO_STOPS)
        self._split = split

    def decode(self, token_ids: Sequence[int]) -> str:
        """Without what stands for bytes that are no text."""
        return super().decode(token_ids).replace("\ufffd", "")

    def sample(
        self,
        prompts: Sequence[tuple[int, ...]],
        generators: Sequence[np.random.Generator | None],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Sample]:
        """As if the limit were the turn's end: turns that were cut are not learned from."""
        with self._split.part("sampling"):
            samples = super().sample(
                prompts, generators, max_new_tokens=max_new_tokens, temperature=temperature
            )
        return [replace(sample, finished=True) for sample in samples]

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        completions: Sequence[tuple[int, ...]],
        *,
        temperature: float,
        hidden: bool = False,
    ) -> Scored:
        with self._split.part("scoring"):
            return super().score(prompts, completions, temperature=temperature, hidden=hidden)


class CpuTimeline(Timeline):
    """Tells the CPU seconds of each phase as well."""

    def __init__(self, split: Split) -> None:
        super().__init__()
        self._split = split

    @contextmanager
    def phase(self, name: str, **details: Any) -> Generator[None]:
        with self._split.part(f"phase {name}"), super().phase(name, **details):
            yield


@dataclass(frozen=True, slots=True)
class Mark:
    """What had been used when a step was logged."""

    cpu: float
    wall: float
    parts: Mapping[str, float]


class Clock:
    """A sink that reads the clocks; the last one, so that a step's logging is that step's."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self.marks: list[Mark] = []

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Between two marks lie the bookkeeping of one step's checkpoint and all else of the next step."""
        self.marks.append(Mark(time.process_time(), time.perf_counter(), dict(self._split.seconds)))

    def close(self) -> None:
        """Nothing is left open."""


def main() -> None:
    asked = arguments()
    torch.set_num_threads(1)
    split = Split()
    clock = Clock(split)
    register_policy("forced", lambda _: ForcedPolicy(asked.model, split))
    register_component("chance", chance)
    for name in asked.agents:
        if name not in role_book("guide").roles:
            register_role(replace(role_book("guide").role(name.split("_")[0]), name=name))
    Optimizer.add = timed(split, "backward", Optimizer.add)
    Optimizer.step = timed(split, "optimizer", Optimizer.step)
    config, narrator, timeline = config_of(asked), Narrator("none"), CpuTimeline(split)
    session = open_session(config, narrator, OneRank(place(config.team.names, 1)), timeline)
    train(config, session, narrator, timeline, clock, asked)
    written = split.seconds["phase checkpoint"] - clock.marks[-1].parts.get("phase checkpoint", 0.0)
    told = {
        "steps": [used(before, after) for before, after in pairwise(clock.marks[asked.warmup - 1 :])],
        "checkpoint_cpu_s": written,
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "gemm_gflops_now": round(gemm_rate()),
    }
    print(json.dumps(told), flush=True)


def timed(split: Split, part: str, call: Callable[P, R]) -> Callable[P, R]:
    @wraps(call)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        with split.part(part):
            return call(*args, **kwargs)

    return told


def chance(episode: Episode) -> Measure:
    """Differs within nearly every group."""
    return Measure(sum(sum(turn.token_ids) for turn in episode.turns) % 997 / 997)


def config_of(asked: argparse.Namespace) -> Config:
    agents = [{"name": name, "max_new_tokens": asked.max_new} for name in asked.agents]
    sets = [
        f"run.output_dir={asked.folder}",
        "run.name=run",
        f"run.seed={asked.seed}",
        "model.name=forced",
        f"team.agents={json.dumps(agents)}",
        f"team.max_rounds_per_episode={asked.rounds}",
        f"rollout.group_size={asked.group}",
        "reward.similarity_model=null",
        "reward.extra_weights={chance: 0.1}",
        f"train.batch_size={asked.prompts}",
        f"train.per_device_train_batch_size={asked.prompts * asked.group}",
        f"train.learning_rate={asked.lr}",
        f"train.max_steps={asked.warmup + asked.steps}",
        f"train.save_every={asked.warmup + asked.steps}",
    ]
    return load_config(preset=None, sets=sets).config


def train(
    config: Config,
    session: Session,
    narrator: Narrator,
    timeline: Timeline,
    clock: Clock,
    asked: argparse.Namespace,
) -> None:
    """As `worker.team_run` does, without its evaluations and its final model."""
    rules = open_rules(config, session.book)
    run = RunDir.of(config)
    steps = asked.warmup + asked.steps
    learners = open_learners(session, rules.estimator, steps=steps)
    checkpoints = Checkpoints(run.checkpoints, keep=config.train.keep_checkpoints)
    checkpoints.save(Progress(), session.policies, learners, session.ranks)
    narrator.logs = [LogFile(run.rank_log(0)), LogFile(run.training_log)]
    sinks = [ConsoleSink("plain", steps), *(LogSink(log, "", steps) for log in narrator.logs), clock]
    across = rules.estimator.across_groups
    Trainer(
        config=config,
        team=session.team,
        policies=session.policies,
        learners=learners,
        reward=rules.reward,
        credit=rules.credit,
        estimator=rules.estimator,
        questions=questions_of(asked, session, asked.prompts * steps),
        steps=steps,
        monitor=Monitor(sinks, metrics=JsonlSink(run.metrics), episodes=EpisodeFiles(run.episodes)),
        evaluator=dict,
        guards=Guards(config.train, config.team.names, across, [], checkpoints, narrator.say),
        checkpoints=checkpoints,
        stop=narrator.stop,
        ranks=session.ranks,
        timeline=timeline,
    ).run(Progress())


def questions_of(asked: argparse.Namespace, session: Session, count: int) -> list[Question]:
    """The file's first questions whose first prompt has so many tokens."""
    first = session.team.agents[0]
    found: list[Question] = []
    for _, question in QuestionReader(asked.data):
        ((*prompt,),) = session.team.prompts(first, [Episode(question, 0, 0)])
        if asked.min_tok <= len(prompt) <= asked.max_tok:
            found.append(question)
        if len(found) == count:
            return found
    raise SystemExit(
        f"{asked.data} has {len(found)} questions of {asked.min_tok} to {asked.max_tok} tokens, not {count}"
    )


def used(before: Mark, after: Mark) -> dict[str, Any]:
    """CPU and wall seconds of a step: whole, of its arithmetic and of all else, by part."""
    parts = {name: seconds - before.parts.get(name, 0.0) for name, seconds in after.parts.items()}
    phases = {name.removeprefix("phase "): parts.pop(name) for name in list(parts) if name not in ARITHMETIC}
    cpu = after.cpu - before.cpu
    learning = parts["scoring"] + parts["backward"] + parts["optimizer"]
    other = {
        "graph, prompts and turns": phases["rollout"] - parts["sampling"],
        "reward": phases["reward"],
        "credit, advantages and loss": phases["credit"] + phases["update"] - learning,
        "metrics and episode files": phases["gather"] + phases["results"],
    }
    other["logs, guards and loop"] = cpu - sum(parts.values()) - sum(other.values())
    return {"cpu": cpu, "wall": after.wall - before.wall, "arithmetic": parts, "other": other}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="for the run's directory, `run`")
    add_shape(parser)
    return parser.parse_args()


def add_shape(parser: argparse.ArgumentParser) -> None:
    """What is trained on what; `team_step.py` asks for the same."""
    parser.add_argument("--model", type=Path, required=True, help="a directory; each agent begins as it")
    parser.add_argument("--data", type=Path, required=True, help="a file of questions")
    agents = ["planner", "researcher", "analyst", "reporter"]
    parser.add_argument("--agents", nargs="+", default=agents, help="roles of `guide`; NAME_2 has NAME's")
    parser.add_argument("--rounds", type=int, default=2)
    shape = {"prompts": 4, "group": 4, "max-new": 32, "steps": 5, "warmup": 1, "seed": 0}
    for name, default in (shape | {"min-tok": 160, "max-tok": 240}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-6)


if __name__ == "__main__":
    main()
