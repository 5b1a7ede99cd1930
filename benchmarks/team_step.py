"""A whole step of a team of four in two rounds, against eight GRPO steps of TRL, one for each turn.

    python benchmarks/team_step.py --model DIR --data FILE --peer trl_grpo_step.py --peer-python PYTHON

The team's steps are those of `maporl train` (`one_team.py`), through LangGraph, with rewards, logs and the
bookkeeping of checkpoints, of which one is written at the end; a tenth of what that takes is counted in each
step, as `train.save_every` is 10. The peer is a script that takes GRPO steps with TRL on the questions of a
file, as a user's message each, and prints a line of JSON. For each of the eight turns it gets the prompts
that the team really had in that turn, and as many completions of as many tokens. Where episodes of one
question have heard different teammates, TRL cannot follow: its groups ask one prompt, so it gets that of the
question's first episode for all of the group. It reads and computes each of them apart, so that this is as
much work for it as different prompts would be. It steps its optimizer eight times, the team's four learners
once each, on as many tokens in all.

CPU seconds of one thread, since other work on the machine does not lengthen them; the same settings of the
allocator for both. A sitting takes all steps of the team and then the peer's for each turn; the seeds and so
the episodes are the same in each. A step is compared with the peer's eight on its own prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from clinic_learning import machine
from one_team import BEGIN, END, add_shape
from trainers import run, spread
from transformers import AutoTokenizer

from maporl_cli.core.config import TrainConfig

HERE = Path(__file__).parent
RESULT = HERE / "results" / "team_step.json"
Turns = list[list[tuple[int, ...]]]
"""By turn: the prompts of every step, in the order of steps and of the steps' questions."""


def main() -> None:
    asked = arguments()
    sittings = [sitting(asked) for _ in range(asked.sittings)]
    found = {
        "command": f"python benchmarks/team_step.py --model {asked.model.name} --prompts {asked.prompts} "
        f"--group {asked.group} --max-new {asked.max_new} --min-tok {asked.min_tok} "
        f"--max-tok {asked.max_tok} --steps {asked.steps} --sittings {asked.sittings}",
        "machine": machine(),
        **compared([team for team, _ in sittings], [peer for _, peer in sittings]),
        "prompt_tokens_by_turn": [turn["prompt_tok_mean"] for turn in sittings[0][1]],
        "sittings": [{"team": team, "peer": peer} for team, peer in sittings],
    }
    print(json.dumps({name: value for name, value in found.items() if name != "sittings"}, indent=1))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


def sitting(asked: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the team's steps took, and what the peer's did for each turn."""
    with tempfile.TemporaryDirectory() as folder:
        words = [str(HERE / "one_team.py"), "--folder", folder, *shape_words(asked)]
        team = run([sys.executable, *words])
        turns = prompts_of(Path(folder) / "run" / "episodes", asked)
        peer = [peer_steps(Path(folder), prompts, asked) for prompts in turns]
    return team, peer


def shape_words(asked: argparse.Namespace) -> list[str]:
    """The options of `one_team.add_shape`."""
    parser = argparse.ArgumentParser()
    add_shape(parser)
    return [word for name in known(parser) for word in option(name, getattr(asked, name))]


def known(parser: argparse.ArgumentParser) -> list[str]:
    return list(vars(parser.parse_args(["--model", "", "--data", ""])))


def option(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [f"--{name.replace('_', '-')}", *map(str, values)]


def prompts_of(episodes: Path, asked: argparse.Namespace) -> Turns:
    """The prompts of each turn, of one episode a question, warm-up included."""
    turns: Turns = [[] for _ in range(asked.rounds * len(asked.agents))]
    for path in sorted(episodes.iterdir()):
        with path.open(encoding="utf-8") as lines:
            played = [json.loads(line) for line in lines]
        for episode in played:
            lengths = [len(turn["token_ids"]) for turn in episode["turns"]]
            if lengths != [asked.max_new] * len(turns):
                raise SystemExit(f"{path.name}: turns of {lengths} tokens")
        for episode in played:
            if episode["sample"] == 0:
                for prompts, turn in zip(turns, episode["turns"], strict=True):
                    prompts.append(tuple(turn["prompt_ids"]))
    return turns


def peer_steps(folder: Path, prompts: Sequence[tuple[int, ...]], asked: argparse.Namespace) -> dict[str, Any]:
    """The peer's steps on the prompts of one turn."""
    questions = folder / "questions.jsonl"
    rows = [json.dumps({"question": text}) + "\n" for text in messages(prompts, asked.model)]
    questions.write_text("".join(rows), encoding="utf-8")
    options = {"model": asked.model, "data": questions, "prompts": asked.prompts, "group": asked.group}
    options |= {"max_new": asked.max_new, "steps": asked.steps, "warmup": asked.warmup, "lr": asked.lr}
    # All of them, whatever their length; without gradient checkpointing, which would cost it a fifth.
    options |= {"min_tok": 0, "max_tok": 10**6, "gc": 0}
    words = [word for name, value in options.items() for word in option(name, value)]
    told = run([asked.peer_python, str(asked.peer), *words])
    length = fmean(map(len, prompts[asked.warmup * asked.prompts :]))
    sampled = asked.prompts * asked.group * asked.max_new
    if abs(told["prompt_tok_mean"] - length) > 0.06 or told["gen_tok_per_step"] != sampled:
        raise SystemExit(f"not the work of {length:.1f} tokens a prompt and {sampled} a step: {told}")
    return told


def messages(prompts: Iterable[tuple[int, ...]], model: Path) -> list[str]:
    """What the peer has to put into its frame for just these ids."""
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    found: list[str] = []
    for ids in prompts:
        text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) != ids:
            raise SystemExit("a prompt's text does not give its token ids back")
        if not (text.startswith(BEGIN) and text.endswith(END)):
            raise SystemExit("a prompt is not framed as the peer frames its own")
        found.append(text.removeprefix(BEGIN).removesuffix(END))
    return found


def compared(teams: Sequence[Mapping[str, Any]], peers: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians and spread over the steps of all sittings."""
    own: list[float] = []
    eight: list[float] = []
    share: list[float] = []
    parts: defaultdict[str, list[float]] = defaultdict(list)
    for team, peer in zip(teams, peers, strict=True):
        checkpoint = team["checkpoint_cpu_s"] / TrainConfig().save_every
        for number, step in enumerate(team["steps"]):
            own.append(step["cpu"] + checkpoint)
            eight.append(sum(turn["cpu_times"][number] for turn in peer))
            other = step["other"] | {"checkpoint": checkpoint}
            share.append(sum(other.values()) / own[-1])
            for name, seconds in (step["arithmetic"] | other).items():
                parts[name].append(seconds)
    return {
        "team_cpu_s": spread(own),
        "peer_cpu_s": spread(eight),
        "times_as_fast": spread([before / after for before, after in zip(eight, own, strict=True)]),
        "share_not_arithmetic": spread(share),
        "team_parts_cpu_s": {name: spread(seconds) for name, seconds in parts.items()},
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_shape(parser)
    parser.add_argument("--peer", type=Path, required=True, help="the script that takes TRL's steps")
    parser.add_argument("--peer-python", required=True, help="the Python that has TRL")
    parser.add_argument("--sittings", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
