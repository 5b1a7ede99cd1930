"""How many bytes one rank needs for the agents it holds: an estimate, from shapes alone.

Exact are the weights, the gradients and the optimizer's state. Activations follow Korthikanti et
al. 2022 ("Reducing Activation Recomputation in Large Transformer Models", arXiv 2205.05198, section
4), who count what each operation of a layer keeps for its backward pass. Their sum is adapted to
Llama- and Qwen-like layers as `agents.shared_forward` computes them: RMS norms in fp32, rotated
queries and keys, an MLP of three matrices with a gate, no dropout, and attention that keeps no
scores (Dao et al. 2022, arXiv 2205.14135). Rows that begin alike are computed once, so rows that
share nothing, all as long as they may be, are the most that can come, and are counted.

Other architectures are counted as if they were such. They take more: `agents.padded_forward` pads
rows, and keeps masks, a copy of keys and values for each query head, and the logits twice.

Memory of the step's phases is not added up where one phase has given it back before the next
begins: `RankMemory.peak`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from maporl_cli.agents.blueprint import Blueprint
from maporl_cli.agents.build import TINY, model_of, verifier_seat
from maporl_cli.agents.word_head import pieces
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

_LOGITS_FORWARD = 2
"""fp32 copies of a piece of the logits while the log-softmax is taken: what goes in, and what comes out."""
_LOGITS_BACKWARD = 3
"""Such copies at most going back: the log-softmax, its exp, and the gradient."""
_CHOICE = 28
"""Bytes a row and word while a token is drawn: logits, log-probabilities and their exp in fp32; what the
inverse CDF sums, and its sums, in float64."""
_PROJECTIONS = 7
"""Matrices of a layer, each with an adapter under LoRA: four of attention, three of the MLP."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward and backward pass over turns.

    Attributes:
        rows: turns.
        tokens: the longest prompt and its completion, in tokens. Every row is taken to have so many, and to
            share none of them with another: what rows begin with alike is computed and kept once.
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
    kept = saved(blueprint, turns, checkpointing=checkpointing)
    below = kept - _logits_kept(blueprint, turns)
    copies = blueprint.compute * blueprint.cast if checkpointing else 0  # else they are among what is kept
    words = 0 if blueprint.lora else FP32 * _words(blueprint)
    # A tied word matrix gets a gradient from either end; the first waits for the second.
    waiting = words if blueprint.tied else 0
    return max(
        below + copies + _words_forward(blueprint, turns),
        kept + (_scoring(blueprint, turns) if reference else 0),
        below + _words_backward(blueprint, turns),
        below + waiting + tokens * _layer_backward(blueprint, checkpointing=checkpointing),
        words + 2 * waiting,
    )


def saved(blueprint: Blueprint, turns: Pass, *, checkpointing: bool) -> int:
    """Bytes that the forward pass of an update keeps for its backward pass, beside the weights."""
    tokens, asked = turns.rows * turns.tokens, turns.rows * turns.completion
    stream = _stream(blueprint)
    # The norm behind the layers, and its output, put in the order of the rows for the word matrix.
    last = asked * (_norm(blueprint, blueprint.hidden) + stream)
    # Cosines and sines, of all layers.
    rotation = tokens * 2 * stream * blueprint.head_width // blueprint.hidden
    kept = rotation + last + _logits_kept(blueprint, turns) + _mask(blueprint, turns.rows, turns.tokens)
    if checkpointing:
        return kept + tokens * blueprint.layers * stream
    # The last layer's MLP is asked at the completions' places alone.
    mlps = (blueprint.layers - 1) * tokens + asked
    # Autocast's copies; that of the word matrix is made by hand, and not kept.
    copies = blueprint.compute * blueprint.cast - _half_words(blueprint)
    layers = tokens * blueprint.layers * _attention_kept(blueprint) + mlps * _mlp_kept(blueprint)
    # Before an adapter's first layer nothing learns, so its first norm keeps nothing.
    first = tokens * _norm(blueprint, blueprint.hidden) if blueprint.lora else 0
    return kept + layers - first + copies


def sampling(blueprint: Blueprint, rows: int, prompt: int, new: int) -> int:
    """Bytes at the peak of a sampling call, beside the weights.

    Args:
        rows: episodes in the call.
        prompt, new: tokens of the longest prompt and of the longest completion.
    """
    read, full = (_key_values(blueprint, rows, tokens) for tokens in (prompt, prompt + new))
    # Autocast has not met the word matrix yet.
    reading = read + rows * prompt * _working(blueprint) + _mask(blueprint, rows, prompt)
    reading -= _half_words(blueprint)
    # The cache has room for all that may follow from its beginning on. It takes over what was read layer by
    # layer: of the last one there are also the packed keys and values, and one of them in rows.
    taking_over = full + read * 3 // (2 * blueprint.layers)
    # Rows that have ended leave: the others' keys and values are copied, layer by layer.
    leaving = full // blueprint.layers
    # What a new token weighs the others with: products for each part of the cache and for both, their
    # softmax in fp32, and that again for the product with the values.
    weighing = rows * (prompt + new) * blueprint.heads * (3 * blueprint.compute + FP32)
    drawing = full + max(leaving, weighing) + rows * blueprint.vocabulary * _CHOICE
    return blueprint.compute * blueprint.cast + max(reading, taking_over, drawing)


def _key_values(blueprint: Blueprint, rows: int, tokens: int) -> int:
    width = blueprint.key_value_heads * blueprint.head_width
    return rows * tokens * blueprint.layers * 2 * width * blueprint.compute


def _pieces(blueprint: Blueprint, turns: Pass) -> tuple[int, int]:
    """In how many pieces logits at the completions' places are computed, and bytes of an fp32 copy of one."""
    parts = pieces(turns.rows * turns.completion, blueprint.vocabulary)
    return len(parts), FP32 * parts[0].stop * blueprint.vocabulary


def _logits_kept(blueprint: Blueprint, turns: Pass) -> int:
    """Bytes of the log-softmax in fp32, whatever the logits come in; none where it is taken in pieces."""
    count, piece = _pieces(blueprint, turns)
    return piece if count == 1 else 0


def _words_forward(blueprint: Blueprint, turns: Pass) -> int:
    """Bytes while a piece's log-softmax is taken."""
    _, piece = _pieces(blueprint, turns)
    return _half_words(blueprint) + _LOGITS_FORWARD * piece


def _words_backward(blueprint: Blueprint, turns: Pass) -> int:
    """Bytes at the widest part of the word matrix's backward pass, with what it kept."""
    count, piece = _pieces(blueprint, turns)
    half = _half_words(blueprint)
    words = 0 if blueprint.lora else FP32 * _words(blueprint)
    # The log-softmax, the logits' gradient in the dtype of products, and the matrix's that is made of it: in
    # that dtype, and in fp32, beside the sum of those before.
    logits = piece + blueprint.compute * piece // FP32
    made = half + words
    before = words if count > 1 else 0
    return half + before + max(_LOGITS_BACKWARD * piece, logits + made)


def _half_words(blueprint: Blueprint) -> int:
    """Bytes of the word matrix's copy in half precision; none where it is not cast."""
    return blueprint.compute * _words(blueprint) if blueprint.cast and not blueprint.lora else 0


def _mask(blueprint: Blueprint, rows: int, tokens: int) -> int:
    """Bytes of what tells attention, for all layers, which tokens a token sees; none where it counts them."""
    return blueprint.compute * rows * tokens**2 if blueprint.copying else 0


def _stream(blueprint: Blueprint) -> int:
    """Bytes a token of what flows from layer to layer: fp32 where the weights are."""
    return blueprint.hidden * (blueprint.compute if blueprint.lora else FP32)


def _widths(blueprint: Blueprint) -> tuple[int, int]:
    """Bytes a token of a layer's queries, and of its keys, which are those of its values."""
    width = blueprint.head_width * blueprint.compute
    return blueprint.heads * width, blueprint.key_value_heads * width


def _norm(blueprint: Blueprint, width: int) -> int:
    """Bytes a token that a norm keeps: its input in fp32 and one number by which that is divided; where a
    weight learns, also what it multiplies."""
    return FP32 * (width * (1 if blueprint.lora else 2) + 1)


def _attention_kept(blueprint: Blueprint) -> int:
    """Bytes a token that the first part of a layer keeps for its backward pass, up to what a token sees."""
    queries, keys = _widths(blueprint)
    half = blueprint.compute < FP32
    # In fp32 the projections of one input share it; autocast makes a copy for each.
    inputs = blueprint.compute * blueprint.hidden * (3 if half else 1)
    # Queries, keys, values, what each token sees, and the log of each one's sum. Where it copies, keys and
    # values for each query, and what is seen as it came and in the order of the packed row.
    attention = (5 * queries if blueprint.copying else 2 * queries + 2 * keys) + FP32 * blueprint.heads
    norms = _norm(blueprint, blueprint.hidden)
    if blueprint.normed_heads:
        norms += _norm(blueprint, (blueprint.heads + blueprint.key_value_heads) * blueprint.head_width)
    return norms + inputs + attention + blueprint.compute * 3 * blueprint.rank


def _mlp_kept(blueprint: Blueprint) -> int:
    """Bytes a token that the rest of a layer keeps."""
    queries, _ = _widths(blueprint)
    half = blueprint.compute < FP32
    # An adapter behind attention takes its output in a copy of its own.
    seen = queries if blueprint.lora and half else 0
    inputs = blueprint.compute * blueprint.hidden * (2 if half else 1)
    mlp = blueprint.compute * 4 * blueprint.intermediate  # gate, its activation, up, their product
    adapters = blueprint.compute * (_PROJECTIONS - 3) * blueprint.rank
    return seen + _norm(blueprint, blueprint.hidden) + inputs + mlp + adapters


def _layer_backward(blueprint: Blueprint, *, checkpointing: bool) -> int:
    """Bytes a token at the widest part of a layer's backward pass, beside what the forward pass kept.

    Args:
        checkpointing: the layer has been computed anew.
    """
    queries, keys = _widths(blueprint)
    # The gradient that arrives, those of queries, keys and values, the same four and what was seen once more
    # in rows, the three gradients that come of that, and those without what only fills up a row.
    attention = 7 * queries + 8 * keys
    turned = queries + 2 * keys + _turning(blueprint)
    # Of the product, the gate's activation, and up, when the product itself has been given back; behind an
    # adapter in half precision the product's is also there in fp32.
    lifted = blueprint.lora and blueprint.compute < FP32
    mlp = (3 if lifted else 2) * blueprint.compute * blueprint.intermediate
    passing = 2 * FP32 * blueprint.hidden  # the gradient that passes by, and one of what a part reads
    if not checkpointing:
        return max(attention, turned, mlp) + passing
    # What the MLP kept has been given back when attention's turn comes.
    anew = max(attention, turned, _mlp_kept(blueprint) + mlp)
    return _attention_kept(blueprint) + anew + passing


def _scoring(blueprint: Blueprint, turns: Pass) -> int:
    """Bytes at the peak of a forward pass that keeps nothing."""
    working = turns.rows * turns.tokens * _working(blueprint) + _mask(blueprint, turns.rows, turns.tokens)
    return max(working, _words_forward(blueprint, turns))


def _working(blueprint: Blueprint) -> int:
    """Bytes a token at the widest part of a layer in a forward pass that keeps nothing."""
    queries, keys = _widths(blueprint)
    turned = 2 * queries + 2 * keys + _turning(blueprint)  # what was turned before, and what waits for it
    # Queries, keys and values, twice; a place for what is seen, and what is.
    attention = 4 * queries + 4 * keys
    # What attention had stays; the gate's activation, up, and their product, or two parts of up and their sum
    # where an adapter adds to it.
    mlp = 2 * queries + 2 * keys + (4 if blueprint.lora else 3) * blueprint.compute * blueprint.intermediate
    # The layer's input, that of a part of it, and what comes out.
    return max(turned, attention, mlp) + 3 * _stream(blueprint)


def _turning(blueprint: Blueprint) -> int:
    """Bytes a token while queries are rotated, in the dtype of what flows through the layers: products with
    cosines and with sines, what is half turned, and the sum; as many gradients going back."""
    return 4 * _stream(blueprint) * blueprint.heads * blueprint.head_width // blueprint.hidden


def _words(blueprint: Blueprint) -> int:
    """Parameters of the matrix that predicts words, the largest there is."""
    return blueprint.vocabulary * blueprint.hidden


def _most(values: Iterable[int]) -> int:
    return max(values, default=0)
