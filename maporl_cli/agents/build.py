"""From config to team: which model each agent gets, on which device, in which precision."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from maporl_cli.agents import clinic_roles as _registers_the_book_clinic  # noqa: F401
from maporl_cli.agents.causal import CausalPolicy
from maporl_cli.agents.evidence import open_evidence
from maporl_cli.agents.models import eos_ids, load_model, load_tokenizer, quiet_checkpointing
from maporl_cli.agents.policy import Policy, Speaker, memory_errors, plugin_policy
from maporl_cli.agents.pull import Progress, pull
from maporl_cli.agents.roles import role_book
from maporl_cli.agents.stage import Stage
from maporl_cli.agents.team import Agent, Team
from maporl_cli.agents.tiny import END, tiny_model, tiny_tokenizer
from maporl_cli.core.config import VERIFIER, AgentConfig, Config
from maporl_cli.core.errors import ConfigError, MissingError
from maporl_cli.core.randomness import keyed_generator
from maporl_cli.data.benchmarks import ColdStarts, benchmark, benchmark_names

TINY = "tiny"
_DECIDE_MEMORY = (
    "the size of model.name or the agents a rank (more ranks: --nproc), or set model.finetune=lora, whose "
    "agents share a base"
)


def model_of(seat: AgentConfig, config: Config) -> str:
    """The name of an agent's model."""
    return seat.model or config.model.name


def cold_starts_of(config: Config) -> ColdStarts | None:
    """The benchmark whose words tiny policies know and learn to use; None where the config has neither."""
    models = {model_of(agent, config) for agent in config.team.agents}
    if TINY not in models or config.data.train not in benchmark_names():
        return None
    found = benchmark(config.data.train)
    return found if isinstance(found, ColdStarts) else None


def verifier_seat(config: Config) -> AgentConfig:
    """The model of the reward's verifier is built as if it were one more agent, like the last."""
    return config.team.agents[-1].model_copy(update={"name": VERIFIER, "trained": True})


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products; weights that learn stay fp32 whatever it is.

    Raises:
        MissingError: fp16 on a CPU, which has no fast half precision and no use for a gradient scaler.
    """
    if dtype == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if dtype == "fp16" and device.type == "cpu":
        raise MissingError(
            "Half precision (fp16) needs a GPU.",
            where="model.dtype",
            why="this machine has none that torch can see",
            fix="--set model.dtype=fp32, or run on a machine with a GPU",
        )
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]


def build_policies(
    config: Config,
    vocabulary: Sequence[str] | None,
    device: torch.device,
    say: Progress,
    names: Collection[str],
) -> dict[str, Policy]:
    """One policy for each of the named agents; agents of one model share one reading of its weights.

    Args:
        names: of agents, and `verifier` for the model of the reward's.
        vocabulary: the words of the benchmark, for tiny policies; None where it has no closed vocabulary.
        say: told what happens while a model is pulled, on its first use.

    Raises:
        ConfigError: `tiny` without a vocabulary, or with LoRA.
        MissingError: a model is not there or cannot be read.
        OutOfMemory: the policies do not fit; names their agents.
    """
    policies: dict[str, Policy] = {}
    by_model: dict[str, list[AgentConfig]] = {}
    seats = [seat for seat in (*config.team.agents, verifier_seat(config)) if seat.name in names]
    for agent in seats:
        by_model.setdefault(model_of(agent, config), []).append(agent)
    for name, agents in by_model.items():
        plugin = plugin_policy(name)
        with memory_errors(", ".join(agent.name for agent in agents), "loading its policy", _DECIDE_MEMORY):
            if plugin is not None:
                policies |= {agent.name: plugin(agent.name) for agent in agents}
            elif name == TINY:
                policies |= _tiny(config, agents, vocabulary, device)
            else:
                policies |= _pretrained(config, name, agents, device, say)
    return {agent.name: policies[agent.name] for agent in seats}


def _tiny(
    config: Config, agents: Sequence[AgentConfig], vocabulary: Sequence[str] | None, device: torch.device
) -> dict[str, Policy]:
    tokenizer = tiny_words(config, vocabulary)
    model = tiny_model(tokenizer, config.run.seed).to(device)  # pyright: ignore[reportArgumentType]
    stops = frozenset({tokenizer.get_vocab()[END]})
    return {
        agent.name: CausalPolicy(
            copy.deepcopy(model),
            tokenizer,
            stops,
            compute=compute_dtype(config.model.dtype, device),
            gradient_checkpointing=config.model.gradient_checkpointing,
        )
        for agent in agents
    }


def tiny_words(config: Config, vocabulary: Sequence[str] | None) -> PreTrainedTokenizerFast:
    """The tokenizer of the config's tiny policies.

    Raises:
        ConfigError: there is no vocabulary to make one of, or tiny policies are to be adapted with LoRA.
    """
    if vocabulary is None:
        raise ConfigError(
            "Tiny policies know only the words of a built-in benchmark.",
            where="model.name=tiny",
            why=f"data.train is {config.data.train!r}, which has no closed vocabulary",
            fix="--preset smollm2, or --set model.name=… with a pretrained model",
        )
    if config.model.finetune == "lora":
        raise ConfigError(
            "Tiny policies are trained whole: they have no pretrained base to adapt.",
            where="model.finetune=lora",
            fix="--set model.finetune=full, or a pretrained model with --set model.name=…",
        )
    return tiny_tokenizer(vocabulary)


def _pretrained(
    config: Config, name: str, agents: Sequence[AgentConfig], device: torch.device, say: Progress
) -> dict[str, Policy]:
    path = pull(name, on_progress=say)
    tokenizer = load_tokenizer(path)
    compute = compute_dtype(config.model.dtype, device)
    lora = config.model.finetune == "lora"
    # Weights that learn are fp32; a base that LoRA freezes needs no master copy.
    base = load_model(path, compute if lora else torch.float32).to(device)  # pyright: ignore[reportArgumentType]
    stops = eos_ids(base, tokenizer)
    shared = with_adapters(base, config, agents) if lora else None
    return {
        agent.name: CausalPolicy(
            shared if shared is not None else (base if index == 0 else copy.deepcopy(base)),
            tokenizer,
            stops,
            adapter=agent.name if lora else None,
            compute=compute,
            gradient_checkpointing=config.model.gradient_checkpointing,
        )
        for index, agent in enumerate(agents)
    }


def with_adapters(base: PreTrainedModel, config: Config, agents: Sequence[AgentConfig]) -> PeftModel:
    """One frozen base with a LoRA adapter (Hu et al. 2021, arXiv 2106.09685) an agent, in fp32."""
    lora = LoraConfig(
        r=config.model.lora_r,
        lora_alpha=config.model.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    shared: PeftModel | None = None
    for agent in agents:
        with torch.random.fork_rng(devices=[]), quiet_checkpointing():
            torch.manual_seed(int(keyed_generator("lora", config.run.seed, agent.name).integers(2**31)))
            if shared is None:
                shared = get_peft_model(base, lora, adapter_name=agent.name)  # pyright: ignore
            else:
                shared.add_adapter(agent.name, lora)
    assert shared is not None, "a model group has at least one agent"
    return shared


def build_team(config: Config, speakers: Mapping[str, Speaker], stage: Stage) -> Team:
    """The team that the config describes, around speakers that exist already, here or on other ranks."""
    book = role_book(config.team.roles)
    agents = [
        Agent(seat.name, book.role(seat.name), speakers.get(seat.name), seat.max_new_tokens, seat.temperature)
        for seat in config.team.agents
    ]
    evidence = open_evidence(config.team.evidence, config.team.evidence_top_k)
    return Team(agents, book, evidence, config.team.max_rounds_per_episode, stage)
