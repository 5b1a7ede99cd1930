"""How many bytes one rank needs for the agents it holds: an estimate, from shapes alone.

Exact are the weights, the gradients and the optimizer's state. Activations follow Korthikanti et
al. 2022 ("Reducing Activation Recomputation in Large Transformer Models", arXiv 2205.05198, section
4), who count what each operation of a layer keeps for its backward pass. Their sum is adapted to
Llama- and Qwen-like layers as transformers computes them: RMS norms in fp32, rotated queries and
keys, an MLP of three matrices with a gate, no dropout, and attention that keeps no scores (Dao et
al. 2022, arXiv 2205.14135). Other architectures are counted as if they were such.

Memory of the step's phases is not added up where one phase has given it back before the next
begins: `RankMemory.peak`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from maporl_cli.agents.blueprint import Blueprint
from maporl_cli.agents.build import TINY, model_of, verifier_seat
from maporl_cli.core.config import AgentConfig, Config
from maporl_cli.training.credit import keeps_start
from maporl_cli.training.schedule import batches_of

PROMPT_TOKENS = 1024
"""Tokens that the longest prompt of a pretrained policy is assumed to have, where its context allows:
a question with options, six snippets and the turns of a round. Tiny policies' may fill their context."""

PROCESS = 500_000_000
"""Bytes of a rank that has no model yet. The libraries in RAM: measured, 450 MB with torch 2.13 for
CPUs. On a GPU the CUDA context and the workspace of its libraries, which is about as much."""

FP32 = 4

_LOGITS_KEPT = 2
"""Copies of the completions' fp32 logits that the loss keeps: the log-softmax, and its exp (entropy)."""
_LOGITS_FORWARD = 3
"""Such copies while the log-softmax is taken: the logits, divided by the temperature, and the result."""
_LOGITS_BACKWARD = 5
"""Such copies at most: those kept, and the gradients that meet at the log-softmax."""
_CHOICE = 28
"""Bytes a row and word while a token is drawn: logits, their rows and log-probabilities in fp32, and two of
the three steps of the inverse CDF in float64."""
_PROJECTIONS = 7
"""Matrices of a layer, each with an adapter under LoRA: four of attention, three of the MLP."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward and backward pass over turns.

    Attributes:
        rows: turns.
        tokens: the longest prompt and its completion, in tokens; every row is padded to so many.
        completion: the longest completion, in tokens.
    """

    rows: int
    tokens: int
    completion: int


@dataclass(frozen=True, slots=True)
class RankMemory:
    """What a rank needs at most, in bytes.

    Attributes:
        model: weights of its agents, a frozen base they share, and reference policies.
        gradients: of what learns. They stay from one update to the next.
        moments: AdamW's two, with their step counters.
        activations: of the largest forward and backward pass.
        cache: keys and values in the largest sampling call, and what reading prompts and drawing
            tokens takes beside them.
        step: what summing gradients over replicas or one optimizer step takes for a moment.
        process: what the process takes without a model.
    """

    model: int = 0
    gradients: int = 0
    moments: int = 0
    activations: int = 0
    cache: int = 0
    step: int = 0
    process: int = PROCESS

    @property
    def optimizer(self) -> int:
        """Gradients and moments."""
        return self.gradients + self.moments

    @property
    def held(self) -> int:
        """What is there from the first update to the last."""
        return self.process + self.model + self.optimizer

    @property
    def peak(self) -> int:
        """The most at any time: agents sample and learn one after the other, so the largest call counts."""
        return self.held + max(self.activations, self.cache, self.step)


def rank_memory(
    config: Config, agents: Collection[str], blueprints: Mapping[str, Blueprint], replicas: int
) -> RankMemory:
    """What a rank needs that holds these agents.

    Args:
        blueprints: by name of model.
        replicas: how many share the questions of a step.
    """
    seats = [(seat, blueprints[model_of(seat, config)]) for seat in config.team.agents if seat.name in agents]
    # The verifier is beside the last agent: it learns, and never samples.
    verifying = config.reward.verifier == "learned" and config.team.names[-1] in agents
    verifier = [(seat, blueprints[model_of(seat, config)]) for seat in [verifier_seat(config)] if verifying]
    learning = [(seat, blueprint) for seat, blueprint in seats if seat.trained] + verifier
    bases = {blueprint.model: blueprint.shared_bytes for _, blueprint in seats}
    kept = keeps_start(config)  # reference policies; a base that LoRA freezes is one itself
    rows = max(rollout_rows(config, replicas), evaluation_rows(config))
    return RankMemory(
        model=sum(bases.values())
        + sum(
            blueprint.own_bytes * (2 if seat.name in kept and not blueprint.lora else 1)
            for seat, blueprint in seats
        )
        + sum(blueprint.own_bytes for _, blueprint in verifier),
        gradients=sum(FP32 * blueprint.learning for _, blueprint in learning),
        moments=sum(
            2 * FP32 * blueprint.learning + FP32 * blueprint.learning_tensors for _, blueprint in learning
        ),
        activations=_most(
            activations(
                blueprint,
                update_pass(config, seat, blueprint),
                checkpointing=config.model.gradient_checkpointing,
                reference=config.train.kl_coeff > 0,
            )
            for seat, blueprint in learning
        ),
        cache=_most(
            sampling(blueprint, rows, prompt_tokens(seat, blueprint), seat.max_new_tokens)
            for seat, blueprint in seats
        ),
        step=_most(FP32 * blueprint.learning for _, blueprint in learning),
    )


def prompt_tokens(seat: AgentConfig, blueprint: Blueprint, longer: int = 0) -> int:
    """Tokens that an agent's longest prompt is assumed to have; how long it is, only the data could tell.

    Args:
        longer: tokens beyond `PROMPT_TOKENS`, where more is asked than in training.
    """
    room = max(1, blueprint.context - seat.max_new_tokens)
    return room if blueprint.model == TINY else min(room, PROMPT_TOKENS + longer)


def update_pass(config: Config, seat: AgentConfig, blueprint: Blueprint) -> Pass:
    """The pass of an update in which all rows are as long as they may be."""
    tokens = prompt_tokens(seat, blueprint) + seat.max_new_tokens
    return Pass(config.train.per_device_train_batch_size, tokens, seat.max_new_tokens)


def rollout_rows(config: Config, replicas: int) -> int:
    """Episodes in the largest sampling call of a step: those of a microbatch of a replica."""
    return max(batches_of(config, replicas, config.rollout.microbatches))


def evaluation_rows(config: Config) -> int:
    """Episodes in the largest sampling call of an evaluation, which comes before and after training."""
    return min(config.eval.batch_size, config.data.max_eval_samples or config.eval.batch_size)


def activations(blueprint: Blueprint, turns: Pass, *, checkpointing: bool, reference: bool) -> int:
    """Bytes at the peak of a forward and backward pass, beside weights and gradients.

    Args:
        checkpointing: keep only the input of each layer, and compute a layer's activations anew for its
            backward pass (Chen et al. 2016, arXiv 1604.06174).
        reference: a frozen start scores the same turns before the backward pass begins.
    """
    tokens = turns.rows * turns.tokens
    logits = _logits(blueprint, turns)
    mask = tokens * turns.tokens  # a byte for each token that another may see, for all layers and heads
    kept = mask + saved(blueprint, turns, checkpointing=checkpointing)
    below = kept - _LOGITS_KEPT * logits
    layer = tokens * _layer(blueprint, turns.tokens) if checkpointing else 0
    copies = 2 * blueprint.cast if checkpointing else 0  # else they are among what is kept
    # Gradients on their way through a layer.
    passing = tokens * 2 * (blueprint.compute * blueprint.intermediate + FP32 * blueprint.hidden)
    words = 0 if blueprint.lora else FP32 * _words(blueprint)
    # A tied word matrix gets a gradient from either end; the first waits for the second.
    waiting = words if blueprint.tied else 0
    return max(
        below + copies + _LOGITS_FORWARD * logits,
        kept + (_working(blueprint, turns.rows, turns.tokens) if reference else 0),
        below + _LOGITS_BACKWARD * logits,
        below + logits + words,
        below + waiting + layer + passing,
        words + 2 * waiting,
    )


def saved(blueprint: Blueprint, turns: Pass, *, checkpointing: bool) -> int:
    """Bytes that the forward pass of an update keeps for its backward pass, beside the weights."""
    hidden, stream = blueprint.hidden, _stream(blueprint)
    layer = stream if checkpointing else _layer(blueprint, turns.tokens)
    last_norm = FP32 * hidden * (1 if blueprint.lora else 2)
    rotation = 2 * stream * blueprint.head_width // hidden
    kept = turns.rows * turns.tokens * (blueprint.layers * layer + last_norm + rotation)
    # Of a checkpointed model's half-precision copies only the matrix behind the layers' is kept.
    half_words = blueprint.compute * _words(blueprint) if blueprint.cast and not blueprint.lora else 0
    copies = half_words if checkpointing else 2 * blueprint.cast
    return kept + copies + _LOGITS_KEPT * _logits(blueprint, turns)


def sampling(blueprint: Blueprint, rows: int, prompt: int, new: int) -> int:
    """Bytes at the peak of a sampling call, beside the weights.

    Args:
        rows: episodes in the call.
        prompt, new: tokens of the longest prompt and of the longest completion.
    """
    reading = _key_values(blueprint, rows, prompt) + _working(blueprint, rows, prompt)
    full = _key_values(blueprint, rows, prompt + new)
    # A token longer means a copy of the keys and values, made layer by layer.
    drawing = full + full // blueprint.layers + rows * blueprint.vocabulary * _CHOICE
    return 2 * blueprint.cast + max(reading, drawing)


def _key_values(blueprint: Blueprint, rows: int, tokens: int) -> int:
    # Under autocast the rotation lifts keys to fp32, and the cache takes values in the keys' dtype.
    dtype = blueprint.compute if blueprint.lora else FP32
    width = blueprint.key_value_heads * blueprint.head_width
    return rows * tokens * blueprint.layers * 2 * width * dtype


def _logits(blueprint: Blueprint, turns: Pass) -> int:
    """One fp32 copy of the logits at the completions' places, whatever the dtype they come in."""
    return turns.rows * turns.completion * blueprint.vocabulary * FP32


def _stream(blueprint: Blueprint) -> int:
    """Bytes a token of what flows from layer to layer: fp32 where the weights are."""
    return blueprint.hidden * (blueprint.compute if blueprint.lora else FP32)


def _layer(blueprint: Blueprint, tokens: int) -> int:
    """Bytes a token that a layer keeps for its backward pass."""
    hidden, heads = blueprint.hidden, blueprint.heads * blueprint.head_width
    lora, half = blueprint.lora, blueprint.compute < FP32
    # Both norms keep their input in fp32; one with a weight that learns, also what it multiplies.
    norms = 2 * FP32 * hidden * (1 if lora else 2)
    # In fp32 the projections of one input share it; autocast makes a copy for each.
    inputs = blueprint.compute * hidden * (5 if half else 2)
    # Queries, and keys and values repeated for every query head, as a padded batch has it; the output,
    # which an adapter behind it takes in a copy of its own; and the log of each row's sum.
    attention = blueprint.compute * heads * (5 if lora and half else 4) + FP32 * blueprint.heads
    mlp = blueprint.compute * 4 * blueprint.intermediate  # gate, its activation, up, their product
    adapters = blueprint.compute * _PROJECTIONS * blueprint.rank
    mask = blueprint.compute * tokens  # turned from yes and no into numbers for each layer anew
    return norms + inputs + attention + mlp + adapters + mask


def _working(blueprint: Blueprint, rows: int, tokens: int) -> int:
    """Bytes at the widest part of a layer in a forward pass that keeps nothing."""
    # Rotated in the dtype of what flows through the layers.
    attention = 4 * blueprint.heads * blueprint.head_width * _stream(blueprint) // blueprint.hidden
    mlp = 4 * blueprint.intermediate * blueprint.compute
    mask = tokens * (1 + blueprint.compute)
    return rows * tokens * (max(attention, mlp) + 4 * FP32 * blueprint.hidden + mask)


def _words(blueprint: Blueprint) -> int:
    """Parameters of the matrix that predicts words, the largest there is."""
    return blueprint.vocabulary * blueprint.hidden


def _most(values: Iterable[int]) -> int:
    return max(values, default=0)
