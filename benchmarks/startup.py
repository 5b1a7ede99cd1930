"""How long `maporl train --preset clinic` takes to its first cold-start step, and how often weights are read.

    python benchmarks/startup.py [--times 7] [--model smollm2-135m]

Start-up: the command itself runs in a process of its own, so many times, until its first cold-start step is
done. The clock starts when the command line and the worker are imported; parsing, config, data, policies, the
run's directory, whatever else is imported on the way, and the step itself all count. The imports, from the
start of the process on, are told beside it.

Weights: a pretrained model (`maporl model pull`) is built for one agent and for four, fully trained and with
LoRA, and every reading of a tensor from its file is counted. The file is in the system's cache by then.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from clinic_learning import machine

TEAM = ("planner", "researcher", "analyst", "reporter")
MOST = 5.0
"""Seconds beyond the imports that the first cold-start step may take to come."""

RESULT = Path(__file__).parent / "results" / "startup.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        what, detail = asked.child
        child_start(float(detail)) if what == "start" else child_weights(asked.model, detail)
        return
    loads = [os.getloadavg()[0]]
    starts = [child(asked, "start", str(time.monotonic())) for _ in range(asked.times)]
    weights = {finetune: child(asked, "weights", finetune) for finetune in ("full", "lora")}
    loads.append(os.getloadavg()[0])
    seconds = spread_of([start["seconds"] for start in starts])
    found = {
        "command": f"python benchmarks/startup.py --times {asked.times} --model {asked.model}",
        "machine": machine() | {"threads": starts[0]["threads"], "load_before_and_after": loads},
        "seconds": seconds,
        "within_the_limit": seconds["all beyond imports"]["most"] <= MOST,
        "weights": {"model": asked.model, **weights},
    }
    print(json.dumps(found, indent=1))
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


def child(asked: argparse.Namespace, what: str, detail: str) -> dict[str, Any]:
    """What a process of its own told on the last line of its output."""
    command = [sys.executable, __file__, "--model", asked.model, "--child", what, detail]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def spread_of(times: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Median, least and most of each part's seconds."""
    found: dict[str, dict[str, float]] = {}
    for part in times[0]:
        own = [one[part] for one in times]
        found[part] = {
            "median": round(median(own), 3),
            "least": round(min(own), 3),
            "most": round(max(own), 3),
        }
    return found


class Parts:
    """Seconds between one mark and the next."""

    def __init__(self, began: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = began

    def mark(self, part: str) -> None:
        now = time.monotonic()
        self.seconds[part] = now - self._last
        self._last = now

    def behind(self, function: Callable[..., Any], part: str, before: str = "") -> Callable[..., Any]:
        """The function, with a mark where it ends, and one `before` it."""

        def marked(*values: Any, **named: Any) -> Any:
            if before:
                self.mark(before)
            found = function(*values, **named)
            self.mark(part)
            return found

        return marked


def child_start(began: float) -> None:
    """The command up to its first cold-start step.

    Args:
        began: when the process was started, in seconds of the machine's own clock.
    """
    parts = Parts(began)
    from maporl_cli.cli.main import main as command_line

    parts.mark("imports: the command line")
    import torch

    from maporl_cli.worker import cold_starting

    parts.mark("imports: the worker")
    training: Any = sys.modules["maporl_cli.worker.train"]  # its name in the package is the function's
    training.load_split = parts.behind(training.load_split, "data", before="command line and config")
    training.open_session = parts.behind(training.open_session, "policies and team")
    imitate = cold_starting.imitate

    def until_the_first_step(*values: Any, on_step: Callable[[int, float], None], **named: Any) -> None:
        parts.mark("run directory and all else")

        def end(step: int, loss: float) -> None:
            parts.mark("first step")
            beyond = sum(took for part, took in parts.seconds.items() if not part.startswith("imports"))
            told = {"seconds": parts.seconds | {"all beyond imports": beyond}}
            print(json.dumps(told | {"threads": torch.get_num_threads()}), flush=True)
            folder.cleanup()
            os._exit(0)  # the rest of the training is of no interest

        imitate(*values, on_step=end, **named)

    cold_starting.imitate = until_the_first_step
    folder = tempfile.TemporaryDirectory()
    sys.argv = ["maporl", "train", "--preset", "clinic", "--name", "run", "--output-dir", folder.name]
    parts.mark("hooks of this benchmark")
    command_line()


def child_weights(model: str, finetune: str) -> None:
    """Seconds and reads of a model's weights for one agent and for four."""
    import torch
    from transformers import modeling_utils as loading

    from maporl_cli.agents.build import build_policies
    from maporl_cli.core.config import Config

    reads: Counter[str] = Counter()
    module: Any = loading  # it opens files by a name that it does not export
    opened = module.safe_open
    module.safe_open = lambda *values, **named: Counted(opened(*values, **named), reads)
    told: dict[str, Any] = {}
    # The first time fills the system's cache.
    for label, names in (("", TEAM[:1]), ("one agent", TEAM[:1]), ("four agents", TEAM)):
        seats = [{"name": name} for name in names]
        config = Config.model_validate(
            {"team": {"agents": seats}, "model": {"name": model, "finetune": finetune}}
        )
        reads.clear()
        began = time.monotonic()
        built = build_policies(config, None, torch.device("cpu"), lambda _: None, names)
        seconds = time.monotonic() - began
        assert len(built) == len(names)
        if label:
            told[label] = {
                "seconds": round(seconds, 3),
                "tensors": len(reads),
                "reads_of_a_tensor": sorted(set(reads.values())),
            }
        del built
    print(json.dumps(told))


class Counted:
    """An opened weights file, or a tensor of it that is not read before it is indexed."""

    def __init__(self, inner: Any, reads: Counter[str], name: str = "") -> None:
        self._inner, self._reads, self._name = inner, reads, name

    def __enter__(self) -> Counted:
        return Counted(self._inner.__enter__(), self._reads)

    def __exit__(self, *error: Any) -> Any:
        return self._inner.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_tensor(self, name: str) -> Any:
        self._reads[name] += 1
        return self._inner.get_tensor(name)

    def get_slice(self, name: str) -> Counted:
        return Counted(self._inner.get_slice(name), self._reads, name)

    def __getitem__(self, index: Any) -> Any:
        self._reads[self._name] += 1
        return self._inner[index]


if __name__ == "__main__":
    main()
