"""The estimate of memory against what is really allocated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support import WORDS, alone, tiny_policy, updated
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from maporl_cli.agents import blueprint as blueprints_of
from maporl_cli.agents import shared_forward, word_head
from maporl_cli.agents.batching import length_mask
from maporl_cli.agents.blueprint import Blueprint, blueprints, draw
from maporl_cli.agents.build import build_policies
from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.policy import Sample
from maporl_cli.agents.tiny import tiny_tokenizer
from maporl_cli.agents.tree_attention import InRectangles
from maporl_cli.core.config import Config
from maporl_cli.core.config_sources import load_config
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.core.types import Turn
from maporl_cli.training.experience import Experience
from maporl_cli.training.loss import policy_loss
from maporl_cli.training.memory import (
    PROCESS,
    Pass,
    RankMemory,
    activations,
    evaluation_rows,
    prompt_tokens,
    rank_memory,
    rollout_rows,
    sampling,
    saved,
    update_pass,
)
from maporl_cli.training.update import Learner

CPU = torch.device("cpu")
TEAM = ("planner", "researcher", "analyst", "reporter")


def config(*agents: str | dict, **sections: Any) -> Config:
    seats = [agent if isinstance(agent, dict) else {"name": agent} for agent in agents]
    return Config.model_validate({"team": {"agents": seats}, **sections})


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_policy(1).save(path)
    return path


# --- exact: weights, gradients, optimizer


def measured(settings: Config) -> RankMemory:
    """What the agents of one rank hold after an update, counted tensor by tensor."""
    names = [seat.name for seat in settings.team.agents]
    policies = build_policies(settings, WORDS, CPU, lambda _: None, names)
    kept: dict[int, int] = {}
    gradients = moments = 0
    for seat in settings.team.agents:
        policy = policies[seat.name]
        assert isinstance(policy, CausalPolicy)
        if settings.train.kl_coeff:
            policy.keep_reference()
        if seat.trained:
            learner = Learner(
                seat.name,
                policy,
                settings.train,
                total_steps=4,
                temperature=1.0,
                learning_rate=1e-3,
                ranks=alone(*names),
            )
            turn = Turn(seat.name, 0, (3, 4, 5), (6, 7), (-1.0, -1.0), "", True, 0)
            updated(learner, [Experience(turn, [1.0, 1.0])])
            states = learner._optimizer.adamw.state.values()
            moments += sum(tensor.nbytes for state in states for tensor in state.values())
            gradients += sum(p.grad.nbytes for p in policy.trainable().values() if p.grad is not None)
        for model in (policy._model, policy._reference):
            tensors = [] if model is None else [*model.parameters(), *model.buffers()]
            kept |= {tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return RankMemory(model=sum(kept.values()), gradients=gradients, moments=moments)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"dtype": "bf16"},
        {"finetune": "lora", "lora_r": 3},
        {"finetune": "lora", "dtype": "bf16"},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("kl_coeff", [0.0, 0.1])
def test_weights_gradients_and_optimizer_are_exact(directory, model, kl_coeff):
    settings = config(
        "planner",
        {"name": "researcher", "trained": False},
        "analyst",
        model={"name": str(directory), **model},
        train={"kl_coeff": kl_coeff},
    )
    agents = ["planner", "researcher", "analyst"]
    found = rank_memory(settings, agents, blueprints(settings), replicas=1)
    real = measured(settings)
    assert (found.model, found.gradients, found.moments) == (real.model, real.gradients, real.moments)


def test_the_preset_clinic_is_exact():
    settings = load_config(preset="clinic").config
    prints = blueprints(settings)
    found = rank_memory(settings, TEAM, prints, replicas=1)
    # A word matrix, two layers of attention with biases, a gated MLP and two norms, and the last norm.
    attention = 2 * 64 * 128 + 2 * 64 * 64 + 128 + 64 + 64 + 64
    parameters = 64 * prints["tiny"].vocabulary + 2 * (attention + 3 * 64 * 128 + 2 * 64) + 64
    tensors = 1 + 2 * (8 + 3 + 2) + 1
    rotation = 2 * 16 * 4
    # Each agent has its weights, a reference, a gradient and two moments.
    assert found.model == 4 * 2 * (4 * parameters + rotation)
    assert found.gradients == 4 * 4 * parameters
    assert found.moments == 4 * (2 * 4 * parameters + 4 * tensors)


@pytest.mark.parametrize("model", [{}, {"finetune": "lora"}], ids=str)
def test_a_verifier_is_one_more_agent_beside_the_last_that_keeps_no_reference(directory, model):
    """With LoRA, one more adapter on the base that the last agent brings."""
    settings = {"model": {"name": str(directory), **model}, "train": {"kl_coeff": 0.1}}
    without = config("planner", "analyst", **settings)
    with_it = config("planner", "analyst", reward={"verifier": "learned"}, **settings)
    (print_,) = prints = blueprints(without)
    one = prints[print_]
    for agents in (["planner"], ["analyst"], ["planner", "analyst"]):
        plain, judged = (rank_memory(each, agents, prints, replicas=1) for each in (without, with_it))
        there = int("analyst" in agents)
        assert judged.model - plain.model == there * one.own_bytes
        assert judged.gradients - plain.gradients == there * 4 * one.learning
        assert judged.moments > plain.moments or not there
        assert judged.cache == plain.cache


def test_a_rule_that_asks_the_last_agent_s_start_takes_one_copy_more():
    team = ("planner", "reporter")
    plain, read = (config(*team, train={"credit": credit}) for credit in ("team", "potential"))
    prints = blueprints(plain)
    for agents, more in ((team, 1), (("planner",), 0), (("reporter",), 1)):
        took = rank_memory(read, agents, prints, 1).model - rank_memory(plain, agents, prints, 1).model
        assert took == more * prints["tiny"].own_bytes


def test_agents_of_two_models(directory):
    settings = config("planner", {"name": "analyst", "model": str(directory)})
    prints = blueprints(settings)
    both = rank_memory(settings, ["planner", "analyst"], prints, replicas=1)
    each = [rank_memory(settings, [name], prints, replicas=1) for name in ("planner", "analyst")]
    assert both.model == sum(rank.model for rank in each)
    assert both.activations == max(rank.activations for rank in each)


# --- estimated: activations and cache, within a stated factor

SHAPES: dict[str, dict[str, int]] = {
    "deep": {"vocab_size": 500, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 8},
    "many words": {"vocab_size": 12_000, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 2},
    "much to store": {"vocab_size": 500, "hidden_size": 96, "intermediate_size": 96, "num_hidden_layers": 24},
}
TURNS = Pass(rows=4, tokens=220, completion=60)
SAVED_WITHIN = 1.05
PEAK_WITHIN = 1.3
SAMPLING_WITHIN = 1.5


def policy_of(
    shape: str,
    finetune: str,
    dtype: str,
    *,
    checkpointing: bool = False,
    family: Any = (LlamaConfig, LlamaForCausalLM),
) -> tuple[CausalPolicy, Blueprint]:
    """A policy as `agents.build` makes it, around a model of some shape, and its blueprint."""
    settings = config("planner", model={"name": "m", "finetune": finetune, "dtype": dtype, "lora_r": 8})
    compute = torch.bfloat16 if dtype == "bf16" else torch.float32
    weights = compute if finetune == "lora" else torch.float32
    config_of, model_of = family
    shape_config = config_of(
        **SHAPES[shape],
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=1,
    )
    with torch.device("meta"):
        blueprint = draw(model_of(shape_config).to(weights), settings, settings.team.agents[0], "m")
    torch.manual_seed(0)
    model: Any = model_of(shape_config).to(weights)
    if finetune == "lora":
        lora = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora, adapter_name="planner")
    policy = CausalPolicy(
        model,
        tiny_tokenizer(WORDS),
        frozenset(),
        adapter="planner" if finetune == "lora" else None,
        compute=compute,
        gradient_checkpointing=checkpointing,
    )
    return policy, blueprint


def prompts(turns: Pass) -> list[tuple[int, ...]]:
    """Of different lengths, as they come, with nothing in common: what they shared would be computed once."""
    longest = turns.tokens - turns.completion
    return [tuple(3 + (place + 7 * row) % 40 for place in range(longest - row)) for row in range(turns.rows)]


def loss_of(policy: CausalPolicy, turns: Pass, *, reference: bool = False) -> torch.Tensor:
    completions = [(5,) * turns.completion] * turns.rows
    scored = policy.score(prompts(turns), completions, temperature=1.0)
    kept = None
    if reference:
        kept = policy.reference_logprobs(prompts(turns), completions, temperature=1.0)
    return policy_loss(
        scored.logprobs,
        scored.logprobs.detach(),
        torch.ones(turns.rows, turns.completion),
        length_mask([turns.completion] * turns.rows),
        turns.rows * turns.completion,
        clip=(0.2, 0.2),
        entropy=scored.entropy,
        entropy_coeff=0.0,
        reference=kept,
        kl_coeff=0.1 if reference else 0.0,
    ).loss


def saved_bytes(policy: CausalPolicy, turns: Pass) -> int:
    """Bytes that autograd keeps from a forward pass, weights left out and each piece of memory once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in policy._model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # held, so that its address is not given away again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss_of(policy, turns)
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that tensors made by `work` take at any time."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    profiler: Any = found.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


CASES = [
    pytest.param(shape, finetune, dtype, checkpointing, id=f"{shape} {finetune} {dtype} {checkpointing}")
    for shape in ("deep", "many words")
    for finetune in ("full", "lora")
    for dtype in ("fp32", "bf16")
    for checkpointing in (False, True)
]


@pytest.mark.parametrize(("shape", "finetune", "dtype", "checkpointing"), CASES)
def test_what_a_forward_pass_keeps(shape, finetune, dtype, checkpointing):
    policy, blueprint = policy_of(shape, finetune, dtype, checkpointing=checkpointing)
    found = saved(blueprint, TURNS, checkpointing=checkpointing)
    real = saved_bytes(policy, TURNS)
    assert real / SAVED_WITHIN < found < real * SAVED_WITHIN


@pytest.mark.parametrize("finetune", ["full", "lora"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_queries_and_keys_with_norms_of_their_own(finetune, dtype):
    policy, blueprint = policy_of("deep", finetune, dtype, family=(Qwen3Config, Qwen3ForCausalLM))
    found, real = saved(blueprint, TURNS, checkpointing=False), saved_bytes(policy, TURNS)
    assert real / SAVED_WITHIN < found < real * SAVED_WITHIN


@pytest.mark.parametrize(("shape", "finetune", "dtype", "checkpointing"), CASES)
def test_the_peak_of_a_pass(shape, finetune, dtype, checkpointing):
    policy, blueprint = policy_of(shape, finetune, dtype, checkpointing=checkpointing)
    for parameter in policy.trainable().values():
        parameter.grad = torch.zeros_like(parameter)  # there from the pass before, and counted elsewhere
    found = activations(blueprint, TURNS, checkpointing=checkpointing, reference=False)
    real = peak_bytes(lambda: loss_of(policy, TURNS).backward())
    assert real / PEAK_WITHIN < found < real * PEAK_WITHIN


@pytest.mark.parametrize("finetune", ["full", "lora"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_logits_that_are_computed_in_pieces(monkeypatch, finetune, dtype, checkpointing):
    """None are kept, and no more than a piece's are there at any time."""
    policy, blueprint = policy_of("many words", finetune, dtype, checkpointing=checkpointing)
    for parameter in policy.trainable().values():
        parameter.grad = torch.zeros_like(parameter)
    found = saved(blueprint, TURNS, checkpointing=checkpointing)
    whole = activations(blueprint, TURNS, checkpointing=checkpointing, reference=False)
    logits = TURNS.rows * TURNS.completion * blueprint.vocabulary
    monkeypatch.setattr(word_head, "PIECE", logits // 5)
    kept, real = saved(blueprint, TURNS, checkpointing=checkpointing), saved_bytes(policy, TURNS)
    assert found - kept == 4 * logits
    assert real / SAVED_WITHIN < kept < real * SAVED_WITHIN
    peak = activations(blueprint, TURNS, checkpointing=checkpointing, reference=False)
    real = peak_bytes(lambda: loss_of(policy, TURNS).backward())
    assert real / PEAK_WITHIN < peak < real * PEAK_WITHIN
    assert peak < whole


@pytest.mark.parametrize("finetune", ["full", "lora"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_attention_as_on_a_gpu(monkeypatch, finetune, dtype, checkpointing):
    """It copies keys and values, and masks what a token does not see: here, by the very code, on a CPU."""
    monkeypatch.setattr(shared_forward, "tree_attention", InRectangles)
    with monkeypatch.context() as there:
        there.setattr(blueprints_of, "default_device", lambda: torch.device("cuda"))
        policy, blueprint = policy_of("deep", finetune, dtype, checkpointing=checkpointing)
    for parameter in policy.trainable().values():
        parameter.grad = torch.zeros_like(parameter)
    if not checkpointing:  # else the masks are there, though not for autograd
        found, real = saved(blueprint, TURNS, checkpointing=False), saved_bytes(policy, TURNS)
        assert real / SAVED_WITHIN < found < real * SAVED_WITHIN
    found = activations(blueprint, TURNS, checkpointing=checkpointing, reference=False)
    real = peak_bytes(lambda: loss_of(policy, TURNS).backward())
    assert real / PEAK_WITHIN < found < real * PEAK_WITHIN


def test_what_copying_keeps(monkeypatch):
    """The difference alone, of rows so long that their masks count."""
    turns = Pass(rows=2, tokens=608, completion=60)
    policy, blueprint = policy_of("much to store", "full", "fp32")
    before, planned = saved_bytes(policy, turns), saved(blueprint, turns, checkpointing=False)
    monkeypatch.setattr(shared_forward, "tree_attention", InRectangles)
    more = saved_bytes(policy, turns) - before
    found = saved(replace(blueprint, copying=True), turns, checkpointing=False) - planned
    assert more / SAVED_WITHIN < found < more * SAVED_WITHIN
    with_masks, without = (
        sampling(replace(blueprint, copying=copying), 2, 600, 1) for copying in (True, False)
    )
    assert with_masks - without == 4 * 2 * 600**2  # of prompts that are read


@pytest.mark.parametrize("finetune", ["full", "lora"])
def test_a_reference_policy_scores_while_activations_wait(finetune):
    policy, blueprint = policy_of("deep", finetune, "fp32", checkpointing=True)
    policy.keep_reference()
    turns = replace(TURNS, tokens=400)
    found = activations(blueprint, turns, checkpointing=True, reference=True)
    real = peak_bytes(lambda: loss_of(policy, turns, reference=True).backward())
    assert real / PEAK_WITHIN < found < real * PEAK_WITHIN


@pytest.mark.parametrize(
    ("shape", "finetune", "dtype"),
    [
        ("deep", "full", "fp32"),
        ("deep", "full", "bf16"),
        ("deep", "lora", "fp32"),
        ("deep", "lora", "bf16"),
        ("many words", "full", "fp32"),
        ("many words", "lora", "fp32"),
    ],
)
def test_the_peak_of_a_sampling_call(shape, finetune, dtype):
    policy, blueprint = policy_of(shape, finetune, dtype)
    streams = [keyed_generator("stream", row) for row in range(TURNS.rows)]
    real = peak_bytes(
        lambda: policy.sample(prompts(TURNS), streams, max_new_tokens=TURNS.completion, temperature=1.0)
    )
    found = sampling(blueprint, TURNS.rows, TURNS.tokens - TURNS.completion, TURNS.completion)
    assert real / SAMPLING_WITHIN < found < real * SAMPLING_WITHIN


def test_rows_that_leave_a_sampling_call_are_not_stored_twice():
    """Where much is stored and little else is there; a quarter of the words end a row."""
    policy, blueprint = policy_of("much to store", "full", "fp32")
    policy._eos_ids = frozenset(range(0, 500, 4))
    streams = [keyed_generator("stream", row) for row in range(TURNS.rows)]
    samples: list[Sample] = []
    real = peak_bytes(
        lambda: samples.extend(
            policy.sample(prompts(TURNS), streams, max_new_tokens=TURNS.completion, temperature=1.0)
        )
    )
    assert len({len(sample.token_ids) for sample in samples}) > 1, "no row has left before another"
    found = sampling(blueprint, TURNS.rows, TURNS.tokens - TURNS.completion, TURNS.completion)
    assert real < found


# --- what is counted together, and with which numbers


def test_agents_learn_in_turn_so_the_largest_pass_counts():
    settings = config(*({"name": name, "max_new_tokens": 20 * (1 + n)} for n, name in enumerate(TEAM)))
    prints = blueprints(settings)
    each = [rank_memory(settings, [name], prints, replicas=1) for name in TEAM]
    all_ = rank_memory(settings, TEAM, prints, replicas=1)
    assert all_.activations == max(rank.activations for rank in each)
    assert all_.cache == max(rank.cache for rank in each)
    assert all_.optimizer == sum(rank.optimizer for rank in each)


def test_the_peak_has_activations_or_cache():
    rank = RankMemory(model=10, gradients=2, moments=3, activations=100, cache=70, step=2)
    assert rank.peak == PROCESS + 10 + 5 + 100
    assert replace(rank, cache=130).peak == PROCESS + 10 + 5 + 130


def test_a_rank_without_agents_is_a_process():
    assert rank_memory(config("planner"), [], {}, replicas=1) == RankMemory()


def test_an_agent_that_does_not_learn_only_speaks():
    settings = config({"name": "planner", "trained": False})
    rank = rank_memory(settings, ["planner"], blueprints(settings), replicas=1)
    assert (rank.optimizer, rank.activations) == (0, 0)
    assert rank.cache > 0


@pytest.mark.parametrize(
    ("sizes", "replicas", "rows"),
    [((6, 4, 1), 1, 24), ((6, 4, 1), 2, 12), ((6, 4, 2), 1, 12), ((6, 4, 4), 1, 8), ((6, 4, 12), 1, 2)],
)
def test_rows_of_a_rollout(sizes, replicas, rows):
    questions, group_size, microbatches = sizes
    settings = config(
        "planner",
        rollout={"group_size": group_size, "microbatches": microbatches},
        train={"batch_size": questions, "per_device_train_batch_size": 4},
    )
    assert rollout_rows(settings, replicas) == rows


def test_rows_of_a_comb_are_the_siblings_at_a_place():
    """Eight questions on two replicas, three siblings each, in two parts."""
    settings = config(
        "planner",
        "reporter",
        rollout={"group_size": 4, "microbatches": 2, "sampling": "comb"},
        train={"batch_size": 8, "per_device_train_batch_size": 4},
    )
    assert rollout_rows(settings, 2) == 6


def test_rows_of_an_evaluation():
    assert evaluation_rows(config("planner", eval={"batch_size": 9})) == 9
    assert evaluation_rows(config("planner", eval={"batch_size": 9}, data={"max_eval_samples": 5})) == 5


def test_the_larger_of_rollout_and_evaluation_fills_the_cache():
    def cache(questions: int, at_once: int) -> int:
        settings = config(
            "planner",
            train={"batch_size": questions, "per_device_train_batch_size": 8},
            eval={"batch_size": at_once},
        )
        return rank_memory(settings, ["planner"], blueprints(settings), replicas=1).cache

    assert cache(4, 8) == cache(4, 32) == cache(2, 32)  # groups of 8
    assert cache(4, 64) > cache(4, 32)


def test_prompts_are_assumed_to_fill_a_tiny_context_or_1024_tokens(directory):
    seat = config({"name": "planner", "max_new_tokens": 12}).team.agents[0]
    (tiny,) = blueprints(config("planner")).values()
    assert prompt_tokens(seat, tiny) == 500
    (small,) = blueprints(config("planner", model={"name": str(directory)})).values()
    assert prompt_tokens(seat, small) == 500
    assert prompt_tokens(seat, replace(small, context=32_768)) == 1024
    assert prompt_tokens(seat, replace(small, context=8)) == 1


def test_a_pass_is_as_long_as_prompt_and_turn():
    settings = config({"name": "planner", "max_new_tokens": 12}, train={"per_device_train_batch_size": 16})
    (tiny,) = blueprints(settings).values()
    assert update_pass(settings, settings.team.agents[0], tiny) == Pass(rows=16, tokens=512, completion=12)
