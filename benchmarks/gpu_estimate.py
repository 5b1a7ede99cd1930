"""What one agent's step should take on an A10G, counted from the model's shape; nothing is measured.

    python benchmarks/gpu_estimate.py

counts, for a Qwen2.5-0.5B trained whole in bf16 on 64 rows in groups of 8, with prompts of 800 tokens and
completions of 256, each phase's matrix products and the bytes that it must move at least, with what rows
share counted once. A phase takes as long as the slower of both, at a share of the card's peak that large
products and long copies often reach; sampling, whose kernels are many and small, at least as long as
starting them takes, which a CUDA graph does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "gpu_estimate.json"

# The A10G of AWS's g5 instances: 24 GB, 600 GB/s, and 70 TFLOP/s of dense half-precision matrix products.
PEAK_FLOPS, PEAK_BYTES = 70e12, 600e9
REACHED = 0.6
"""The share of either peak that is assumed to be reached."""
IN_GRAPH, FROM_PYTHON = 1.5e-6, 5e-6
"""Seconds from a kernel's start to the next one's, where a CUDA graph starts them, and where Python does."""
KERNELS = 57
"""Operations a layer for a token that is written, in bf16; counted in what is recorded for a graph."""
BF16, FP32 = 2, 4


@dataclass(frozen=True)
class Shape:
    """Of a model; that of Qwen2.5-0.5B where nothing else is said."""

    layers: int = 24
    hidden: int = 896
    intermediate: int = 4864
    heads: int = 14
    kept: int = 2
    width: int = 64
    words: int = 151_936

    @property
    def body(self) -> int:
        """Weights of the layers' matrices."""
        attention = self.hidden * self.width * (2 * self.heads + 2 * self.kept)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head(self) -> int:
        return self.hidden * self.words

    @property
    def token(self) -> int:
        """Bytes of a token's keys and values in all layers."""
        return 2 * self.layers * self.kept * self.width * BF16

    def attention(self, pairs: float) -> float:
        """FLOPs of so many pairs of a token that looks and one that is seen, in all layers."""
        return 4 * pairs * self.layers * self.heads * self.width


@dataclass(frozen=True)
class Work:
    """What a step asks for."""

    rows: int = 64
    group: int = 8
    prompt: int = 800
    new: int = 256

    @property
    def questions(self) -> int:
        return self.rows // self.group


@dataclass(frozen=True)
class Phase:
    """What a part of a step takes.

    Attributes:
        flops: of matrix products.
        moved: bytes read and written at least.
        launches: kernels started one after the other.
        launch: seconds that each start takes.
    """

    flops: float
    moved: float
    launches: int = 0
    launch: float = IN_GRAPH

    @property
    def limits(self) -> dict[str, float]:
        """Seconds by what may bind."""
        return {
            "products": self.flops / (REACHED * PEAK_FLOPS),
            "memory": self.moved / (REACHED * PEAK_BYTES),
            "launches": self.launches * self.launch,
        }

    @property
    def seconds(self) -> float:
        return max(self.limits.values())

    def told(self) -> dict[str, float | str]:
        limits = self.limits
        return {
            "TFLOP": round(self.flops / 1e12, 2),
            "GB": round(self.moved / 1e9, 1),
            **{f"seconds by {name}": round(value, 3) for name, value in limits.items() if value},
            "limit": max(limits, key=limits.__getitem__),
            "seconds": round(self.seconds, 3),
        }


def main() -> None:
    shape, work = Shape(), Work()
    shared, apart = step(shape, work, sharing=True), step(shape, work, sharing=False)
    found = {
        "command": "python benchmarks/gpu_estimate.py",
        "estimate": True,
        "card": "A10G: 70 TFLOP/s, 600 GB/s",
        "reached": REACHED,
        "phases": {name: phase.told() for name, phase in shared.items()},
        "seconds": round(sum(phase.seconds for phase in shared.values()), 2),
        "seconds of sampling without a graph": round(
            replace(shared["sampling"], launch=FROM_PYTHON).seconds, 2
        ),
        "seconds if nothing is shared": round(sum(phase.seconds for phase in apart.values()), 2),
        "phases if nothing is shared": {name: phase.told() for name, phase in apart.items()},
    }
    print(json.dumps(found, indent=1))
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


def step(shape: Shape, work: Work, *, sharing: bool) -> dict[str, Phase]:
    prompts = work.questions if sharing else work.rows
    read = prompts * work.prompt
    said = work.rows * (work.new - 1)
    own_pairs = work.rows * work.new**2 / 2 + said * work.prompt
    all_pairs = prompts * work.prompt**2 / 2 + own_pairs
    weights = BF16 * (shape.body + shape.head)
    # A graph does the same work for each token, and so reads all that there is room for.
    cached = shape.token * (read + work.rows * work.new)
    learning = shape.body + shape.head
    return {
        "reading the prompts": Phase(
            2 * shape.body * read + shape.attention(prompts * work.prompt**2 / 2),
            weights + shape.token * read,
        ),
        "sampling": Phase(
            2 * (shape.body * said + shape.head * work.rows * work.new) + shape.attention(own_pairs),
            work.new * (weights + cached + work.rows * shape.words * (BF16 + 3 * FP32)),
            launches=work.new * shape.layers * KERNELS,
        ),
        "update, forward": Phase(
            2 * (shape.body * (read + said) + shape.head * work.rows * work.new) + shape.attention(all_pairs),
            weights,
        ),
        # The logits are more than are kept, so they are computed again.
        "update, backward": Phase(
            4 * shape.body * (read + said)
            + 6 * shape.head * work.rows * work.new
            + 2.5 * shape.attention(all_pairs),
            2 * weights + FP32 * learning,
        ),
        # Weights, gradient and two moments are read, all but the gradient written.
        "optimizer": Phase(12 * learning, 7 * FP32 * learning),
    }


if __name__ == "__main__":
    main()
